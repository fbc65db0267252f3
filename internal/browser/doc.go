// Package browser drives Debian's Chromium, for tests of pages as people see them. It is there with the build
// tag chromium alone, as installing a browser takes long.
package browser
