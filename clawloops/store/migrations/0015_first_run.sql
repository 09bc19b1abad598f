-- A box that has a model and more than its owner went through its first steps before they were kept: they are not begun anew.
INSERT INTO meta (key, value)
SELECT 'first-run', 'yes' FROM (SELECT count(*) AS members FROM users) AS counted
WHERE counted.members > 1 AND EXISTS (SELECT 1 FROM models);
