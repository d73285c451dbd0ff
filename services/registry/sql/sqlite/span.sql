SELECT first_version, version FROM catalog WHERE id = 1
