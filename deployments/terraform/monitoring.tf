# Alerts, goals and the dashboard.
module "monitoring" {
  source          = "./modules/monitoring"
  count           = var.runbooks == null ? 0 : 1
  project         = var.project_id
  page_channels   = [google_monitoring_notification_channel.email.id]
  ticket_channels = [google_monitoring_notification_channel.email.id]
  runbooks        = var.runbooks
}
