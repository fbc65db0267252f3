# Alerts, goals and the dashboard of exportd in Cloud Monitoring, over the metrics that Managed Service for
# Prometheus collects (deployments/monitoring/podmonitoring.yaml).
#
# The root module (../../monitoring.tf) has it where its variable `runbooks` is set. For whoever has the rest from elsewhere:
#
#   module "monitoring" {
#     source          = "./modules/monitoring"
#     project         = "example-project"
#     page_channels   = ["projects/example-project/notificationChannels/1"]
#     ticket_channels = ["projects/example-project/notificationChannels/2"]
#     runbooks        = "https://YOUR-GIT/exportd/blob/main/"
#   }
#
# The three JSON files are made of deployments/monitoring/alerts.yaml and dashboard.json by `make generate`:
# change those. Recording rules are expanded, as alert policies have none.

locals {
  alerts   = jsondecode(file("${path.module}/alerts.json"))
  goals    = jsondecode(file("${path.module}/goals.json"))
  channels = { page = var.page_channels, ticket = var.ticket_channels }
  severity = { page = "CRITICAL", ticket = "WARNING" }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  project               = var.project
  display_name          = each.value.alert
  combiner              = "OR"
  severity              = local.severity[each.value.severity]
  notification_channels = local.channels[each.value.severity]
  user_labels           = { for name, value in each.value.labels : name => lower(value) }

  conditions {
    display_name = each.value.alert

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = each.value.duration
      evaluation_interval = each.value.every
      labels              = each.value.labels
      rule_group          = each.value.group
      alert_rule          = each.value.alert
      # Metrics that no process has told yet are none that do not exist.
      disable_metric_validation = true
    }
  }

  documentation {
    subject   = each.value.summary
    mime_type = "text/markdown"
    content   = "${each.value.summary}\n\nRunbook: ${var.runbooks}${each.value.runbook}"

    links {
      display_name = "Runbook"
      url          = "${var.runbooks}${each.value.runbook}"
    }
  }

  alert_strategy {
    # Longer than any window but those of the budgets: what was closed by hand does not come again at once.
    auto_close = "3600s"
  }
}

resource "google_monitoring_custom_service" "exportd" {
  project      = var.project
  service_id   = "exportd"
  display_name = "exportd"
}

resource "google_monitoring_slo" "goal" {
  for_each = local.goals

  project             = var.project
  service             = google_monitoring_custom_service.exportd.service_id
  slo_id              = each.key
  display_name        = each.value.title
  goal                = each.value.goal
  rolling_period_days = 30

  request_based_sli {
    dynamic "good_total_ratio" {
      for_each = each.value.cut == "" ? [each.value] : []
      content {
        bad_service_filter   = good_total_ratio.value.bad
        total_service_filter = good_total_ratio.value.total
      }
    }

    dynamic "distribution_cut" {
      for_each = each.value.cut == "" ? [] : [each.value]
      content {
        distribution_filter = distribution_cut.value.cut
        range {
          max = distribution_cut.value.seconds
        }
      }
    }
  }
}

resource "google_monitoring_dashboard" "exportd" {
  project        = var.project
  dashboard_json = file("${path.module}/dashboard.json")
}
