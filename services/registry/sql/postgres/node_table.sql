-- The table of the Node server beside ours: its rows and the bytes of their texts.
SELECT to_regclass(quote_ident(current_schema()) || '.dynamic_tools') IS NOT NULL AS there
