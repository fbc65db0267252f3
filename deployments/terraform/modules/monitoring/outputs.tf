output "alerts" {
  description = "The alert policies, by alert and severity."
  value       = { for name, policy in google_monitoring_alert_policy.alert : name => policy.name }
}
