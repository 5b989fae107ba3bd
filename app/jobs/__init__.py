"""The durable jobs: tables, queue, workflow, worker and the warm process that runs the MAP."""
