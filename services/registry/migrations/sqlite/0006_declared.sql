-- Whether a revision was made by the configuration. A tool whose newest revision is one is changed by
-- the configuration alone.
ALTER TABLE revisions ADD COLUMN declared INTEGER NOT NULL DEFAULT 0 CHECK (declared IN (0, 1));
