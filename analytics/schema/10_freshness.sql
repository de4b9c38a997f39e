-- When each version came to be on GitHub: where its time is from.

ALTER TABLE version_log ADD COLUMN changed_by VARCHAR;
COMMENT ON COLUMN version_log.changed_by IS 'Where changed_at is from: content (the newest time in what changed: a timeline item, a comment, a check run), updated_at (which moved), source (told by what noticed it) or noticed (nothing tells; it is when it was noticed); null when there is none.';
COMMENT ON COLUMN version_log.changed_at IS 'When it came to be on GitHub, as far as that can be told.';
