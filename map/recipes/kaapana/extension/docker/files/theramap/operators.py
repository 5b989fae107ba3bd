"""theramap as a task of a Kaapana workflow."""

from datetime import timedelta

from kaapana.blueprints.kaapana_global_variables import DEFAULT_REGISTRY
from kaapana.operators.KaapanaBaseOperator import KaapanaBaseOperator


class TheramapOperator(KaapanaBaseOperator):
    """Runs the MAP once over the batch; each study's results come to the folder of its PET series."""

    def __init__(self, dag, rest_of_study, **kwargs):
        super().__init__(
            dag=dag,
            name="theramap",
            image=f"{DEFAULT_REGISTRY}/theramap-kaapana:0.1.0-cpu",
            image_pull_secrets=["registry-secret"],
            env_vars={"REST_OF_STUDY_DIR": rest_of_study.operator_out_dir, "THERAMAP_DEVICE": "cpu"},
            execution_timeout=timedelta(hours=12),
            ram_mem_mb=8000,
            **kwargs,
        )
