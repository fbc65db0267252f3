# The keyset, sealed by the KMS key. `exportd setup` makes it and a person puts it here, so that it is in no state file.
resource "google_secret_manager_secret" "keyset" {
  project   = var.project_id
  secret_id = "exportd-keyset"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "keyset" {
  for_each  = toset(["api", "worker"])
  project   = var.project_id
  secret_id = google_secret_manager_secret.keyset.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.process[each.value].member
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project_id
  location      = var.region
  repository_id = "exportd"
  format        = "DOCKER"
  description   = "exportd's images; make image PUSH=..."
  depends_on    = [google_project_service.api]
}
