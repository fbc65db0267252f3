# A topic and a pull subscription for each lane (dead has callbacks that were given up), as `exportd setup` makes and mends them, and doctor wants them. No
# dead letters of Pub/Sub's and no ordering: a message is a doorbell, what it is about is in Firestore, and rescuers ring again.
locals {
  lanes = toset(["exports", "parts", "callbacks", "dead"])
}

resource "google_pubsub_topic" "lane" {
  for_each   = local.lanes
  project    = var.project_id
  name       = "exportd-${each.value}"
  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "lane" {
  for_each                   = local.lanes
  project                    = var.project_id
  name                       = "exportd-${each.value}"
  topic                      = google_pubsub_topic.lane[each.value].id
  ack_deadline_seconds       = 20
  message_retention_duration = "604800s"
  expiration_policy {
    ttl = "" # never: a fleet that slept for a month finds it again
  }
}
