-- What tells of each event.

ALTER TABLE events ADD COLUMN told_by VARCHAR;
COMMENT ON COLUMN events.told_by IS 'What tells of it, where GitHub''s timeline should: both, the difference of two states alone, or the timeline alone; null where the timeline need not tell.';
