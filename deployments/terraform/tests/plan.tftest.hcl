# Plans with a mocked provider: everything, the first apply, GKE, and each variable that is wrong. TestTerraform of
# deployments/tools/manifests runs them, and compares the plan of "everything" with permissions, indexes and settings.
mock_provider "google" {}

variables {
  project_id         = "example-project"
  region             = "europe-west6"
  domain             = "exports.example.com"
  notification_email = "oncall@example.com"
  image              = "europe-west6-docker.pkg.dev/example-project/exportd/exportd@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "everything" {
  command = plan
  variables {
    keyset_ready     = true
    create_database  = true
    encrypt_bucket   = true
    console_members  = ["group:oncall@example.com"]
    deployers        = ["group:deployers@example.com"]
    billing_account  = "012345-6789AB-CDEF01"
    blocked_networks = ["192.0.2.0/24"]
    settings         = { EXPORTD_WAIT_SECONDS = "20" }
    runbooks         = "https://git.example.com/exportd/blob/main/"
  }
}

run "first_apply" {
  command = plan
  assert {
    condition     = length(google_cloud_run_v2_service.api) == 0 && length(google_cloud_run_v2_worker_pool.worker) == 0
    error_message = "processes are planned that have no keyset yet"
  }
  assert {
    condition     = length(module.monitoring) == 0
    error_message = "alerts are planned that lead to no runbook"
  }
}

run "no_console" {
  command = plan
  variables {
    keyset_ready = true
  }
  assert {
    condition     = !contains(google_cloud_run_v2_service.api[0].template[0].containers[0].env[*].name, "EXPORTD_CONSOLE") && length(google_compute_backend_service.console) == 0
    error_message = "the console is public, and console_members are nobody"
  }
}

run "gke" {
  command = plan
  variables {
    platform     = "gke"
    keyset_ready = true
  }
  assert {
    condition     = length(google_cloud_run_v2_service.api) == 0 && length(google_service_account_iam_member.kubernetes) == 2
    error_message = "GKE is given Cloud Run's, or its accounts are not bound"
  }
}

# Each fault is told in the module's own words, all at once.
run "wrong" {
  command = plan
  expect_failures = [
    var.project_id, var.region, var.image, var.platform, var.domain, var.console_members, var.workers, var.api_min_instances,
    var.api_max_instances, var.file_days, var.blocked_networks, var.notification_email, var.billing_account, var.monthly_budget,
    var.rate_per_address, var.settings, var.runbooks,
  ]
  variables {
    project_id         = "My Project"
    region             = "europe-west6-a"
    image              = "europe-west6-docker.pkg.dev/p/exportd/exportd:latest"
    platform           = "app-engine"
    domain             = "https://exports.example.com/"
    console_members    = ["allUsers"]
    workers            = 1
    api_min_instances  = 0
    api_max_instances  = 0
    file_days          = 0
    blocked_networks   = ["everybody"]
    notification_email = "oncall"
    billing_account    = "mine"
    monthly_budget     = 0
    rate_per_address   = 1
    runbooks           = "deployments/runbooks"
    settings           = { WAIT_SECONDS = "20" }
  }
}

run "settings_of_the_module" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { EXPORTD_FILE_DAYS = "3" }
  }
}
