// Passkeys: asks the browser for one, puts its answer into the form around the button, and sends it. Without script or
// without passkeys in the browser, these forms stay hidden and every page has another way.
"use strict";

const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
const toText = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const listed = (known) => (known || []).map((each) => ({ ...each, id: toBytes(each.id) }));

// Options come and answers go as JSON with bytes in base64url (WebAuthn level 3, 5.1.8 and 5.1.10).
async function answerTo(options) {
  const told = { ...options, challenge: toBytes(options.challenge) };
  if (!options.user) {
    const used = await navigator.credentials.get({ publicKey: { ...told, allowCredentials: listed(options.allowCredentials) } });
    const { clientDataJSON, authenticatorData, signature, userHandle } = used.response;
    return shown(used, { clientDataJSON, authenticatorData, signature, ...(userHandle && { userHandle }) });
  }
  const user = { ...options.user, id: toBytes(options.user.id) };
  const made = await navigator.credentials.create({ publicKey: { ...told, user, excludeCredentials: listed(options.excludeCredentials) } });
  const { clientDataJSON, attestationObject } = made.response;
  return shown(made, { clientDataJSON, attestationObject });
}

function shown(credential, parts) {
  const response = Object.fromEntries(Object.entries(parts).map(([name, bytes]) => [name, toText(bytes)]));
  return JSON.stringify({ id: credential.id, rawId: toText(credential.rawId), type: credential.type, response });
}

async function optionsFrom(address) {
  const reply = await fetch(address, { headers: { Accept: "application/json" } });
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.detail);
  return told;
}

function why(error, { twice, unused, failed }) {
  if (error.name === "InvalidStateError") return twice;
  if (error.name === "NotAllowedError") return unused;
  return error.message || failed;
}

const without = document.querySelector("[data-without-passkeys]");
if (without) without.hidden = Boolean(window.PublicKeyCredential);

for (const button of window.PublicKeyCredential ? document.querySelectorAll("[data-passkey]") : []) {
  const form = button.form;
  const note = form.querySelector("[data-passkey-note]");
  form.hidden = false;
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true" || !form.reportValidity()) return;
    button.setAttribute("aria-busy", "true");
    note.hidden = true;
    try {
      form.elements[button.dataset.into].value = await answerTo(await optionsFrom(button.dataset.passkey));
      form.submit();
    } catch (error) {
      button.removeAttribute("aria-busy");
      note.textContent = why(error, note.dataset);
      note.hidden = false;
    }
  });
}
