"""S3 without a vendor's SDK: credentials, signatures, the quirks of each store, and a handful of verbs.

boto3 is asked for credentials alone, and only where they stand neither in the environment nor in a file.
"""
