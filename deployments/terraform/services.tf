# The APIs of Google's that are used. They stay enabled when this is destroyed: others may use them.
locals {
  apis = concat(
    ["artifactregistry", "cloudkms", "compute", "firestore", "iam", "iamcredentials", "monitoring", "pubsub", "secretmanager", "storage"],
    local.cloud_run ? ["run"] : ["container"],
    local.console ? ["iap"] : [],
    var.billing_account == null ? [] : ["billingbudgets"],
  )
}

resource "google_project_service" "api" {
  for_each           = toset(local.apis)
  project            = var.project_id
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

data "google_project" "this" {
  project_id = var.project_id
}
