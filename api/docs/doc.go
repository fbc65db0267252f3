// Package docs are the pages at /docs: how to export, receive callbacks, sign, rotate keys and read the file,
// and a page to try it on. Pages are Markdown with what is told in more than one place put in by name: code
// from the examples that tests run, numbers from the constants that hold, test vectors from the code that
// signs. They are made once, and do not need JavaScript but for trying.
//
// swagger has what shows openapi.yaml at /docs/reference, which is others' work.
package docs
