-- What people are asked is kept beside what they answer.

ALTER TABLE answers ADD COLUMN question text;
ALTER TABLE answers ALTER COLUMN outcome DROP NOT NULL;
ALTER TABLE answers ALTER COLUMN data DROP NOT NULL;
ALTER TABLE answers ADD CHECK ((outcome IS NULL) = (data IS NULL));
