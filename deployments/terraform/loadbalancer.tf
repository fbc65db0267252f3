# A global load balancer with Cloud Armor before the API, and Identity-Aware Proxy before the console.
resource "google_compute_global_address" "api" {
  project    = var.project_id
  name       = "exportd-api"
  depends_on = [google_project_service.api]
}

resource "google_compute_security_policy" "api" {
  project     = var.project_id
  name        = "exportd"
  description = "Floods end here, before they reach a process"
  type        = "CLOUD_ARMOR"
  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable = true
    }
  }
  dynamic "rule" {
    for_each = length(var.blocked_networks) > 0 ? [1] : []
    content {
      action      = "deny(403)"
      priority    = 100
      description = "blocked_networks"
      match {
        versioned_expr = "SRC_IPS_V1"
        config {
          src_ip_ranges = var.blocked_networks
        }
      }
    }
  }
  rule {
    action      = "throttle"
    priority    = 1000
    description = "rate_per_address"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.rate_per_address
        interval_sec = 60
      }
    }
  }
  rule {
    action      = "allow"
    priority    = 2147483647
    description = "the default"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}

resource "google_compute_region_network_endpoint_group" "api" {
  count                 = local.serve ? 1 : 0
  project               = var.project_id
  name                  = "exportd-api"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloud_run_v2_service.api[0].name
  }
}

resource "google_compute_backend_service" "api" {
  count                 = local.serve ? 1 : 0
  project               = var.project_id
  name                  = "exportd-api"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.api.id
  backend {
    group = google_compute_region_network_endpoint_group.api[0].id
  }
  log_config {
    enable = false # exportd's own line for each request is enough
  }
}

resource "google_compute_backend_service" "console" {
  count                 = local.serve && local.console ? 1 : 0
  project               = var.project_id
  name                  = "exportd-console"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.api.id
  backend {
    group = google_compute_region_network_endpoint_group.api[0].id
  }
  iap {
    enabled = true
  }
}

resource "google_iap_web_backend_service_iam_member" "console" {
  for_each            = local.serve ? toset(var.console_members) : toset([])
  project             = var.project_id
  web_backend_service = google_compute_backend_service.console[0].name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.value
}

resource "google_compute_url_map" "api" {
  count           = local.serve ? 1 : 0
  project         = var.project_id
  name            = "exportd"
  default_service = google_compute_backend_service.api[0].id
  host_rule {
    hosts        = [var.domain]
    path_matcher = "exportd"
  }
  path_matcher {
    name            = "exportd"
    default_service = google_compute_backend_service.api[0].id
    dynamic "path_rule" {
      for_each = google_compute_backend_service.console
      content {
        paths   = ["/console", "/console/*"]
        service = path_rule.value.id
      }
    }
  }
}

resource "google_compute_managed_ssl_certificate" "api" {
  count   = local.serve ? 1 : 0
  project = var.project_id
  name    = "exportd"
  managed {
    domains = [var.domain]
  }
}

resource "google_compute_ssl_policy" "api" {
  count           = local.serve ? 1 : 0
  project         = var.project_id
  name            = "exportd"
  profile         = "RESTRICTED"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "api" {
  count            = local.serve ? 1 : 0
  project          = var.project_id
  name             = "exportd"
  url_map          = google_compute_url_map.api[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.api[0].id]
  ssl_policy       = google_compute_ssl_policy.api[0].id
}

resource "google_compute_global_forwarding_rule" "api" {
  count                 = local.serve ? 1 : 0
  project               = var.project_id
  name                  = "exportd"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.api[0].id
}
