-- Whether a revision was made by the configuration. A tool whose newest revision is one is changed by
-- the configuration alone.
ALTER TABLE mcp_revisions ADD COLUMN declared boolean NOT NULL DEFAULT false;
