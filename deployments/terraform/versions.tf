terraform {
  # 1.7: tests with mocked providers. OpenTofu from the same version.
  required_version = ">= 1.7.0"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50.0, < 8.0.0"
    }
  }
}
