# The module's plan with a mocked provider. TestTerraform of deployments/tools/manifests runs it.
mock_provider "google" {}

variables {
  project         = "example-project"
  page_channels   = ["projects/example-project/notificationChannels/1"]
  ticket_channels = ["projects/example-project/notificationChannels/2"]
  runbooks        = "https://git.example.com/exportd/blob/main/"
}

run "everything" {
  command = plan

  assert {
    condition     = length(google_monitoring_alert_policy.alert) == length(local.alerts) && length(local.alerts) >= 18
    error_message = "Each alert of the rules is a policy."
  }
  assert {
    condition = alltrue([for p in google_monitoring_alert_policy.alert :
      p.severity == (endswith(p.notification_channels[0], "/1") ? "CRITICAL" : "WARNING")
    ])
    error_message = "What wakes somebody is critical, and goes to whom it wakes."
  }
  assert {
    condition     = google_monitoring_alert_policy.alert["ExportdNoWorkers-page"].documentation[0].links[0].url == "https://git.example.com/exportd/blob/main/deployments/runbooks/ExportdNoWorkers.md"
    error_message = "Each alert leads to its runbook."
  }
  assert {
    condition     = google_monitoring_alert_policy.alert["ExportdNoWorkers-page"].conditions[0].condition_prometheus_query_language[0].duration == "300s"
    error_message = "Five minutes of the rule are 300 s."
  }
  assert {
    condition     = google_monitoring_slo.goal["success"].goal == 0.995 && length(google_monitoring_slo.goal["success"].request_based_sli[0].good_total_ratio) == 1
    error_message = "99.5 % succeed, as a ratio."
  }
  assert {
    condition     = google_monitoring_slo.goal["small"].request_based_sli[0].distribution_cut[0].range[0].max == 10
    error_message = "Small exports have 10 s."
  }
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.exportd.dashboard_json).mosaicLayout.tiles) > 40
    error_message = "The dashboard is whole."
  }
}

run "no_https" {
  command = plan
  variables {
    runbooks = "deployments/runbooks"
  }
  expect_failures = [var.runbooks]
}
