"""What evaluate_fronts is made of: inputs, errors of images and groups, zone metrics, tables and the report."""
