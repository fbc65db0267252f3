resource "google_cloud_run_v2_service" "api" {
  count               = local.serve ? 1 : 0
  project             = var.project_id
  name                = "exportd-api"
  location            = var.region
  deletion_protection = var.protect
  ingress             = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" # by the load balancer alone, which has Cloud Armor
  # Requests are signed by exportd's own keys; the load balancer has no identity to show.
  invoker_iam_disabled = true
  template {
    service_account = google_service_account.process["api"].email
    # Waits are 25 s at most, event streams an hour; Cloud Run's longest.
    timeout                          = "3600s"
    max_instance_request_concurrency = 1000
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    scaling {
      min_instance_count = var.api_min_instances
      max_instance_count = max(var.api_max_instances, var.api_min_instances)
    }
    containers {
      image = var.image
      args  = ["api"]
      ports {
        container_port = 8080
      }
      dynamic "env" {
        for_each = merge(local.settings, { GOMEMLIMIT = "460MiB" })
        content {
          name  = env.key
          value = env.value
        }
      }
      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = false # it watches jobs between requests
        startup_cpu_boost = true
      }
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30
        http_get {
          path = "/readyz"
          port = 9090
        }
      }
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 3
        http_get {
          path = "/livez"
          port = 9090
        }
      }
      volume_mounts {
        name       = "keyset"
        mount_path = "/etc/exportd"
      }
    }
    volumes {
      name = "keyset"
      secret {
        secret = google_secret_manager_secret.keyset.secret_id
        items {
          version = "latest"
          path    = "keyset.json"
        }
      }
    }
  }
  depends_on = [
    google_secret_manager_secret_iam_member.keyset, google_project_iam_member.process, google_storage_bucket_iam_member.process,
    google_kms_crypto_key_iam_member.keyset, google_service_account_iam_member.signer, google_pubsub_topic_iam_member.process,
    google_firestore_index.this, google_firestore_field.this,
  ]
}

resource "google_cloud_run_v2_worker_pool" "worker" {
  count               = local.serve ? 1 : 0
  project             = var.project_id
  name                = "exportd-worker"
  location            = var.region
  deletion_protection = var.protect
  launch_stage        = "BETA"
  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.workers
  }
  template {
    service_account = google_service_account.process["worker"].email
    containers {
      image = var.image
      args  = ["worker"]
      dynamic "env" {
        # Cloud Run gives a container 10 s after SIGTERM: what is not done by then is handed to the others.
        for_each = merge(local.settings, { EXPORTD_DRAIN_SECONDS = "7", GOMEMLIMIT = "460MiB" })
        content {
          name  = env.key
          value = env.value
        }
      }
      resources {
        limits = { cpu = "1", memory = "512Mi" }
      }
      volume_mounts {
        name       = "keyset"
        mount_path = "/etc/exportd"
      }
    }
    volumes {
      name = "keyset"
      secret {
        secret = google_secret_manager_secret.keyset.secret_id
        items {
          version = "latest"
          path    = "keyset.json"
        }
      }
    }
  }
  depends_on = [
    google_secret_manager_secret_iam_member.keyset, google_project_iam_member.process, google_storage_bucket_iam_member.process,
    google_kms_crypto_key_iam_member.keyset, google_service_account_iam_member.signer, google_pubsub_topic_iam_member.process,
    google_pubsub_subscription_iam_member.process, google_firestore_index.this, google_firestore_field.this,
  ]
}
