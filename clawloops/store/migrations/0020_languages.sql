-- What an invitation's e-mail is written in: the language (BCP 47) of the page on which it was made.
ALTER TABLE deliveries ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
