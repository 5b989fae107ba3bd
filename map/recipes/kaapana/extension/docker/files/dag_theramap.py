"""theramap on the PET/CT studies of a Kaapana dataset: SEG and SR go back into the platform."""

from datetime import timedelta

from airflow.models import DAG
from airflow.utils.dates import days_ago
from kaapana.operators.DcmSendOperator import DcmSendOperator
from kaapana.operators.GetInputOperator import GetInputOperator
from kaapana.operators.GetRefSeriesOperator import GetRefSeriesOperator
from kaapana.operators.LocalWorkflowCleanerOperator import LocalWorkflowCleanerOperator
from theramap.operators import TheramapOperator

ui_forms = {
    "workflow_form": {
        "type": "object",
        "properties": {
            "input": {
                "title": "Input",
                "description": "The PET series; the rest of their studies is fetched.",
                "default": "PT",
                "type": "string",
                "readOnly": True,
            },
            "single_execution": {
                "title": "single execution",
                "description": "Should each series be processed separately?",
                "type": "boolean",
                "default": False,
                "readOnly": False,
            },
        },
    }
}

dag = DAG(
    dag_id="theramap",
    default_args={
        "ui_visible": True,
        "ui_forms": ui_forms,
        "owner": "kaapana",
        "start_date": days_ago(0),
        "retries": 0,
        "retry_delay": timedelta(seconds=60),
    },
    schedule_interval=None,
)

get_pet = GetInputOperator(dag=dag, check_modality=True)
get_rest = GetRefSeriesOperator(dag=dag, input_operator=get_pet, search_policy="study_uid")
theramap = TheramapOperator(dag=dag, input_operator=get_pet, rest_of_study=get_rest)
send = DcmSendOperator(dag=dag, input_operator=theramap)
clean = LocalWorkflowCleanerOperator(dag=dag, clean_workflow_dir=True)

get_pet >> get_rest >> theramap >> send >> clean
