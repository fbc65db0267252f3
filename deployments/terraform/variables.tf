variable "project_id" {
  description = "Google Cloud project that exportd runs in, and that has the data."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the id of a project, as my-project-123: 6 to 30 lower-case letters, digits and hyphens, not its name or number."
  }
}

variable "region" {
  description = "Region of Cloud Run, the bucket and keys, as europe-west6. The database's location is database_location."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region, as europe-west6; not a zone (europe-west6-a) and not a multi-region (EU)."
  }
}

variable "image" {
  description = "exportd's image by digest, as europe-west6-docker.pkg.dev/P/exportd/exportd@sha256:...; image.digest of a release has it."
  type        = string
  validation {
    condition     = can(regex("^[^@\\s]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image is wanted by digest (NAME@sha256:...), so that what was tested is what runs and going back is exact. image.digest of a release has it."
  }
}

variable "platform" {
  description = "What runs API and workers: cloud-run, or gke, for which the manifests of deployments/kubernetes are applied afterwards."
  type        = string
  default     = "cloud-run"
  validation {
    condition     = contains(["cloud-run", "gke"], var.platform)
    error_message = "platform is cloud-run or gke."
  }
}

variable "kubernetes_namespace" {
  description = "With platform gke: the namespace whose service accounts exportd-api and exportd-worker act as Google's."
  type        = string
  default     = "exportd"
}

variable "create_database" {
  description = "Make the Firestore database. false where it is there already, which is usual: exportd exports what another service writes."
  type        = bool
  default     = false
}

variable "database_id" {
  description = "Firestore database that holds the collections to export, and exportd's own."
  type        = string
  default     = "(default)"
}

variable "database_location" {
  description = "Location of a new database, as eur3 or europe-west6. It can never be changed. Default: region."
  type        = string
  default     = null
}

variable "point_in_time_recovery" {
  description = "Point-in-time recovery of the database: snapshots stay readable for 7 days instead of an hour, and the database can be read as of any minute of them. Turned on here for a new database only; say what is so for one that is there."
  type        = bool
  default     = true
}

variable "manage_indexes" {
  description = "Make the composite indexes, single-field exemptions and TTL policies of firestore.indexes.json. false where the firebase CLI deploys them."
  type        = bool
  default     = true
}

variable "index_file" {
  description = "Another index file: what `exportd indexes` prints where EXPORTD_DATASETS_FILE names datasets of your own. Default: deployments/firestore.indexes.json."
  type        = string
  default     = null
}

variable "bucket_name" {
  description = "Bucket of the files. Default: the project's id with -exports."
  type        = string
  default     = null
}

variable "bucket_location" {
  description = "Location of the bucket, as EU or europe-west6. Default: region."
  type        = string
  default     = null
}

variable "file_days" {
  description = "How long files are kept (EXPORTD_FILE_DAYS); the bucket's own rule deletes what is a day older."
  type        = number
  default     = 7
  validation {
    condition     = var.file_days >= 1 && var.file_days <= 365 && floor(var.file_days) == var.file_days
    error_message = "file_days is a whole number from 1 to 365."
  }
}

variable "encrypt_bucket" {
  description = "Encrypt files by a key of your own in Cloud KMS, rather than by Google's."
  type        = bool
  default     = false
}

variable "domain" {
  description = "Host name of the API, as exports.example.com; its address (output address) goes into DNS, then Google issues the certificate."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name, as exports.example.com: lower case, without scheme, port or path."
  }
}

variable "console_members" {
  description = "Who may open the console of operators (/console): Identity-Aware Proxy asks before exportd's own keys do. As group:oncall@example.com; empty: keys alone."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for m in var.console_members : can(regex("^(user|group|domain|serviceAccount):[^:]+$", m))])
    error_message = "console_members are like user:a@example.com, group:g@example.com, domain:example.com. Not allUsers, nor allAuthenticatedUsers: operators see all orgs."
  }
}

variable "rate_per_address" {
  description = "Requests a minute of one address that Cloud Armor lets through; above, 429."
  type        = number
  default     = 36000
  validation {
    condition     = var.rate_per_address >= 60
    error_message = "rate_per_address is a number of requests a minute, 60 or more."
  }
}

variable "blocked_networks" {
  description = "Networks that get 403 from Cloud Armor, at most 10."
  type        = list(string)
  default     = []
  validation {
    condition     = length(var.blocked_networks) <= 10 && alltrue([for n in var.blocked_networks : can(cidrhost(n, 0))])
    error_message = "blocked_networks are at most 10 networks, as 192.0.2.0/24."
  }
}

variable "api_min_instances" {
  description = "Instances of the API that are always there. 2, so that one can be replaced."
  type        = number
  default     = 2
  validation {
    condition     = var.api_min_instances >= 1
    error_message = "api_min_instances is 1 or more: a cold start is longer than a caller's patience, and the first scraper of the queue is an API."
  }
}

variable "api_max_instances" {
  description = "Instances of the API at most."
  type        = number
  default     = 10
  validation {
    condition     = var.api_max_instances >= 1 && var.api_max_instances <= 100
    error_message = "api_max_instances is from 1 to 100."
  }
}

variable "workers" {
  description = "Workers. Cloud Run's pools do not scale by themselves: change this number, or use platform gke with KEDA."
  type        = number
  default     = 4
  validation {
    condition     = var.workers >= 2 && var.workers <= 1000
    error_message = "workers are 2 or more, so that one rescues what another held when it died, and at most 1000 (deployments/capacity.md)."
  }
}

variable "settings" {
  description = "More of exportd's settings, by variable, as { EXPORTD_WAIT_SECONDS = \"20\" }; the README lists all."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^(EXPORTD|OTEL)_[A-Z0-9_]+$", name))])
    error_message = "settings are named EXPORTD_... or OTEL_...; the README lists them."
  }
  validation {
    condition = length(setintersection(keys(var.settings), [
      "EXPORTD_PROJECT_ID", "EXPORTD_DATABASE_ID", "EXPORTD_BUCKET", "EXPORTD_BUCKET_LOCATION", "EXPORTD_KEYSET_FILE", "EXPORTD_KMS_KEY", "EXPORTD_FILE_DAYS", "EXPORTD_PITR",
    ])) == 0
    error_message = "settings must not name what another variable of this module sets: project, database, bucket and its location, keyset, KMS key, file_days, point_in_time_recovery."
  }
}

variable "keyset_ready" {
  description = "The secret exportd-keyset has a version. false for the first apply, which makes everything that `exportd setup` needs to make the keyset; then true, which starts API and workers."
  type        = bool
  default     = false
}

variable "notification_email" {
  description = "Where alerts and the budget's warnings go."
  type        = string
  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.notification_email))
    error_message = "notification_email is an e-mail address; alerts that nobody gets are none."
  }
}

variable "billing_account" {
  description = "Billing account for a budget alert, as 012345-6789AB-CDEF01; null makes none."
  type        = string
  default     = null
  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is like 012345-6789AB-CDEF01, or null."
  }
}

variable "monthly_budget" {
  description = "What the project may cost in a month, in the billing account's currency; warned of at half, nine tenths, all, and when it is foreseen."
  type        = number
  default     = 500
  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget is a whole number of the billing account's currency, 1 or more."
  }
}

variable "deployers" {
  description = "Who may act as the account exportd-setup, to run `exportd setup` and `doctor`, as group:deployers@example.com."
  type        = list(string)
  default     = []
}

variable "protect" {
  description = "Refuse to destroy database, bucket with files in it, services and keys. false only to take a trial away."
  type        = bool
  default     = true
}

variable "runbooks" {
  description = "What the paths of runbooks in alerts follow: where this repository can be read, with a slash at its end, as https://git.example.com/exportd/blob/main/. Alerts need metrics in Managed Service for Prometheus; null makes none."
  type        = string
  default     = null
  validation {
    condition     = var.runbooks == null || can(regex("^https://.+/$", var.runbooks))
    error_message = "runbooks begins with https:// and ends with a slash, or is null."
  }
}
