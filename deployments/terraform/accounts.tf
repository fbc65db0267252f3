# An account for each process with exactly the permissions of permissions.yaml, the list that the end-to-end tests
# hold: a call that is not in it fails them, and so does a permission that nothing uses.
locals {
  permissions = yamldecode(file("${path.module}/../permissions.yaml")).accounts

  # On that key, besides.
  kms_permissions = {
    api    = ["cloudkms.cryptoKeyVersions.useToDecrypt"]
    worker = ["cloudkms.cryptoKeyVersions.useToDecrypt"]
    doctor = ["cloudkms.cryptoKeyVersions.useToDecrypt"]
    setup  = ["cloudkms.cryptoKeyVersions.useToDecrypt", "cloudkms.cryptoKeyVersions.useToEncrypt"]
  }

  # A role for each account and service, as it is granted on that service's own things.
  roles = merge([
    for account, permissions in local.permissions : merge({
      for service in distinct([for p in permissions : split(".", p)[0]]) : "${account}_${service}" => {
        account     = account
        service     = service
        permissions = sort([for p in permissions : p if split(".", p)[0] == service])
      }
    }, { "${account}_cloudkms" = { account = account, service = "cloudkms", permissions = local.kms_permissions[account] } })
  ]...)

  # Who makes topics, subscriptions and the bucket needs that on the project; the others on what was made.
  on_project       = { for k, r in local.roles : k => r if r.service == "datastore" || r.account == "setup" && contains(["pubsub", "storage"], r.service) }
  on_bucket        = { for k, r in local.roles : k => r if r.service == "storage" && r.account != "setup" }
  on_topics        = { for p in setproduct([for k, r in local.roles : k if r.service == "pubsub" && r.account != "setup"], local.lanes) : "${p[0]} ${p[1]}" => { role = p[0], lane = p[1] } if anytrue([for x in local.roles[p[0]].permissions : startswith(x, "pubsub.topics.")]) }
  on_subscriptions = { for p in setproduct([for k, r in local.roles : k if r.service == "pubsub" && r.account != "setup"], local.lanes) : "${p[0]} ${p[1]}" => { role = p[0], lane = p[1] } if anytrue([for x in local.roles[p[0]].permissions : startswith(x, "pubsub.subscriptions.")]) }
}

resource "google_service_account" "process" {
  for_each     = local.permissions
  project      = var.project_id
  account_id   = "exportd-${each.key}"
  display_name = "exportd ${each.key}"
  depends_on   = [google_project_service.api]
}

resource "google_project_iam_custom_role" "process" {
  for_each    = local.roles
  project     = var.project_id
  role_id     = "exportd_${each.key}"
  title       = "exportd ${each.value.account}: ${each.value.service}"
  description = "From deployments/permissions.yaml"
  permissions = each.value.permissions
}

resource "google_project_iam_member" "process" {
  for_each = local.on_project
  project  = var.project_id
  role     = google_project_iam_custom_role.process[each.key].id
  member   = google_service_account.process[each.value.account].member
}

resource "google_storage_bucket_iam_member" "process" {
  for_each = local.on_bucket
  bucket   = google_storage_bucket.exports.name
  role     = google_project_iam_custom_role.process[each.key].id
  member   = google_service_account.process[each.value.account].member
}

resource "google_pubsub_topic_iam_member" "process" {
  for_each = local.on_topics
  project  = var.project_id
  topic    = google_pubsub_topic.lane[each.value.lane].name
  role     = google_project_iam_custom_role.process[each.value.role].id
  member   = google_service_account.process[local.roles[each.value.role].account].member
}

resource "google_pubsub_subscription_iam_member" "process" {
  for_each     = local.on_subscriptions
  project      = var.project_id
  subscription = google_pubsub_subscription.lane[each.value.lane].name
  role         = google_project_iam_custom_role.process[each.value.role].id
  member       = google_service_account.process[local.roles[each.value.role].account].member
}

# Each signs links as itself.
resource "google_service_account_iam_member" "signer" {
  for_each           = { for k, r in local.roles : k => r if r.service == "iam" }
  service_account_id = google_service_account.process[each.value.account].name
  role               = google_project_iam_custom_role.process[each.key].id
  member             = google_service_account.process[each.value.account].member
}

resource "google_kms_crypto_key_iam_member" "keyset" {
  for_each      = { for k, r in local.roles : k => r if r.service == "cloudkms" }
  crypto_key_id = google_kms_crypto_key.keyset.id
  role          = google_project_iam_custom_role.process[each.key].id
  member        = google_service_account.process[each.value.account].member
}

# Whoever deploys runs `exportd setup` and `doctor` as their accounts.
resource "google_service_account_iam_member" "deployer" {
  for_each           = { for p in setproduct(["setup", "doctor"], var.deployers) : "${p[0]} ${p[1]}" => p }
  service_account_id = google_service_account.process[each.value[0]].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value[1]
}

resource "google_service_account_iam_member" "kubernetes" {
  for_each           = local.cloud_run ? toset([]) : toset(["api", "worker"])
  service_account_id = google_service_account.process[each.value].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project_id}.svc.id.goog[${var.kubernetes_namespace}/exportd-${each.value}]"
}
