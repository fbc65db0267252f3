package api

import (
	"fmt"
	"strings"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// fileRefs are the parameters of files, as export routes name them.
func fileRefs() string {
	var b strings.Builder
	for _, f := range dataset.FileParams {
		fmt.Fprintf(&b, "        - {$ref: \"#/components/parameters/%s\"}\n", f.Name)
	}
	return b.String()
}

// fileParamsText are the parameters of files.
func fileParamsText(dataset.Set) string {
	var b strings.Builder
	for _, f := range dataset.FileParams {
		fmt.Fprintf(&b, "    %[1]s: {name: %[1]s, in: query, description: %[2]q, schema: {$ref: \"#/components/schemas/%[3]s\"}}\n", f.Name, f.Doc, f.Schema)
	}
	return b.String()
}

// fileSchemasText are what they may be.
func fileSchemasText(dataset.Set) string {
	var b strings.Builder
	for _, f := range dataset.FileParams {
		if f.Pattern != "" {
			fmt.Fprintf(&b, "    %s: {type: string, pattern: %q}\n", f.Schema, f.Pattern)
			continue
		}
		if len(f.Values) == 0 {
			fmt.Fprintf(&b, "    %s: {type: string, minLength: 1, maxLength: %d}\n", f.Schema, f.Most)
			continue
		}
		fmt.Fprintf(&b, "    %s: {type: string, enum: [\"%s\"], default: %q}\n", f.Schema, strings.Join(f.Values, `", "`), f.Default())
	}
	return b.String()
}

// fileMembers are what a job that is shown has of its file.
func fileMembers() string {
	var b strings.Builder
	for _, f := range dataset.FileParams {
		schema := fmt.Sprintf("{$ref: \"#/components/schemas/%s\"}", f.Schema)
		if f.Name == jobs.ParamFormulaGuard {
			schema = "{type: boolean}"
		}
		fmt.Fprintf(&b, "        %s: %s\n", f.Name, schema)
	}
	return b.String()
}
