package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
	"exportd/jobs"
)

// fileFlags are the parameters of the file, by name.
type fileFlags map[string]*string

// add adds the flags that every export has.
func (f *fileFlags) add(cmd *cobra.Command) {
	*f = fileFlags{}
	for _, p := range dataset.FileParams {
		name, does := fileFlag(p.Name), p.Short
		if len(p.Values) > 0 {
			does += ": " + strings.Join(p.Values, ", ")
		}
		(*f)[p.Name] = cmd.Flags().String(name, p.Default(), does)
		if len(p.Values) > 0 {
			choices(cmd, name, p.Values...)
		}
	}
}

// fileFlag is the flag of a parameter; --profile is who asks.
func fileFlag(param string) string {
	if param == jobs.ParamProfile {
		return "csv-profile"
	}
	return flagName(param)
}

// check finds what no service takes.
func (f fileFlags) check() error {
	for _, p := range dataset.FileParams {
		if v := *f[p.Name]; len(p.Values) > 0 && !slices.Contains(p.Values, v) {
			return &usageError{text: fmt.Sprintf("--%s is %s, not %q", fileFlag(p.Name), strings.Join(p.Values, " or "), v)}
		}
	}
	return nil
}

// set adds those that are not as they are by default.
func (f fileFlags) set(params map[string]string) {
	for _, p := range dataset.FileParams {
		if v := *f[p.Name]; v != p.Default() {
			params[p.Name] = v
		}
	}
}

// extension is that of a job's file.
func extension(job *client.Job) string {
	format := "csv"
	if f := job.Params.Format; f != nil {
		format = string(*f)
	}
	if c := job.Params.Compression; c != nil && *c == client.CompressionGzip {
		format += ".gz"
	}
	return "." + format
}

// fileOf is what a job's file is where that is not by default, in words.
func fileOf(p client.Params) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		raw, err := json.Marshal(p)
		var values map[string]any
		if err != nil || json.Unmarshal(raw, &values) != nil {
			return
		}
		if !p.FormulaGuard {
			values[jobs.ParamFormulaGuard] = "off"
		}
		format, _ := values[jobs.ParamFormat].(string)
		format = cmp.Or(format, jobs.FormatCSV)
		for _, f := range dataset.FileParams {
			v, _ := values[f.Name].(string)
			if v != "" && v != f.Default() && f.Of(format) && !yield(strings.ReplaceAll(fileFlag(f.Name), "-", " "), v) {
				return
			}
		}
	}
}
