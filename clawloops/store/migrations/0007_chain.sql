-- Each entry of the audit names the one before it, by its hash. Entries from before have neither.
ALTER TABLE audit ADD COLUMN prev TEXT;
ALTER TABLE audit ADD COLUMN hash TEXT;
CREATE UNIQUE INDEX audit_prev ON audit (prev); -- no entry has two that follow it
