variable "project" {
  description = "The Google Cloud project whose metrics are watched."
  type        = string
}

variable "page_channels" {
  description = "Notification channels that wake somebody, as projects/P/notificationChannels/N."
  type        = list(string)
}

variable "ticket_channels" {
  description = "Notification channels for what waits until the morning."
  type        = list(string)
}

variable "runbooks" {
  description = "What the paths of the runbooks follow in a link: where the repository can be read, with a slash at its end."
  type        = string

  validation {
    condition     = can(regex("^https://.+/$", var.runbooks))
    error_message = "The address begins with https:// and ends with a slash."
  }
}
