resource "google_firestore_database" "this" {
  count                             = var.create_database ? 1 : 0
  project                           = var.project_id
  name                              = var.database_id
  location_id                       = coalesce(var.database_location, var.region)
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"
  delete_protection_state           = var.protect ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.protect ? "ABANDON" : "DELETE"
  depends_on                        = [google_project_service.api]
}

# Point-in-time recovery is gone with the database; backups are not.
resource "google_firestore_backup_schedule" "daily" {
  count     = var.create_database ? 1 : 0
  project   = var.project_id
  database  = google_firestore_database.this[0].name
  retention = "1209600s" # 14 days
  daily_recurrence {}
}

# Indexes, exemptions and TTL policies are those of the file that `exportd indexes` prints and tests hold.
locals {
  index_file = jsondecode(file(coalesce(var.index_file, "${path.module}/../firestore.indexes.json")))
  indexes = {
    for i in local.index_file.indexes :
    join(" ", concat([i.collectionGroup], [for f in i.fields : "${f.fieldPath}:${lower(try(f.order, f.arrayConfig))}"])) => i if var.manage_indexes
  }
  fields = {
    for f in local.index_file.fieldOverrides : "${f.collectionGroup} ${f.fieldPath}" => f if var.manage_indexes
  }
}

resource "google_firestore_index" "this" {
  for_each    = local.indexes
  project     = var.project_id
  database    = var.database_id
  collection  = each.value.collectionGroup
  query_scope = each.value.queryScope
  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path   = fields.value.fieldPath
      order        = try(fields.value.order, null)
      array_config = try(fields.value.arrayConfig, null)
    }
  }
  depends_on = [google_firestore_database.this]
}

resource "google_firestore_field" "this" {
  for_each   = local.fields
  project    = var.project_id
  database   = var.database_id
  collection = each.value.collectionGroup
  field      = each.value.fieldPath
  index_config {
    dynamic "indexes" {
      for_each = each.value.indexes
      content {
        order        = try(indexes.value.order, null)
        array_config = try(indexes.value.arrayConfig, null)
        query_scope  = indexes.value.queryScope
      }
    }
  }
  dynamic "ttl_config" {
    for_each = try(each.value.ttl, false) ? [1] : []
    content {}
  }
  depends_on = [google_firestore_database.this]
}
