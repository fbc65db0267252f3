package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) jobsManifest() *cobra.Command {
	return &cobra.Command{
		Use: "manifest JOB", Short: "Show what is in the file of a job: columns and their types, rows, checksums", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.GetManifestWithResponse(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showManifest(r.JSON200)
			return nil
		},
	}
}

func (a *app) showManifest(m *client.Manifest) {
	facts := [][2]cell{
		{words("file"), words(m.URL)}, {words("type"), words(m.MediaType)}, {words("snapshot"), instant(m.SnapshotTime)}, {words("file until"), instant(m.FileExpiresAt)},
		{words("rows"), number(m.Rows)}, {words("size"), sizeOf(&m.SizeBytes)}, {words("crc32c"), words(m.Crc32C)}, {words("parts"), number(int64(len(m.Parts)))},
	}
	if m.Sha256 != nil {
		facts = append(facts, [2]cell{words("sha256"), words(*m.Sha256)})
	}
	if d := m.Dialect; d != nil {
		facts = append(facts, [2]cell{words("delimiter"), words(strings.ReplaceAll(d.Delimiter, "\t", "TAB"))})
	}
	for _, f := range []struct {
		name string
		n    *int64
	}{{"guarded cells", &m.GuardedCells}, {"rescued values", &m.RescuedValues}, {"without sort field", m.WithoutSortField}} {
		if f.n != nil && *f.n > 0 {
			facts = append(facts, [2]cell{words(f.name), number(*f.n)})
		}
	}
	a.list(facts)
	columns := []column{{name: "COLUMN"}, {name: "TYPE"}, {name: "GUARDED", right: true}, {name: "PATH", whole: true}}
	rows := make([][]cell, len(m.TableSchema.Columns))
	for i, c := range m.TableSchema.Columns {
		guarded := words("?")
		if n := c.GuardedCells; n != nil {
			guarded = number(*n)
		}
		rows[i] = []cell{words(c.Name), words(string(c.Type)), guarded, words(c.Path)}
	}
	if m.GuardedCells == 0 {
		columns = slices.Delete(columns, 2, 3)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 2, 3)
		}
	}
	a.table(columns, rows)
}
