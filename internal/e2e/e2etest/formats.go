package e2etest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"exportd/internal/csvrow/csvrowtest"
)

// cellOf is a value as a cell of CSV has it.
func cellOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case json.Number:
		return v.String()
	case []any:
		texts := make([]string, len(v))
		for i, e := range v {
			texts[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(cellOf(e))
		}
		return strings.Join(texts, ";")
	}
	return strings.ReplaceAll(v.(string), "\x00", "\u2400")
}

// ParseJSONL gives the rows of a file of JSONL, as those of CSV, without formula guard, have them.
func ParseJSONL(header []string, file []byte) (rows [][]string, err error) {
	for d := json.NewDecoder(bytes.NewReader(file)); ; {
		d.UseNumber()
		var row map[string]any
		if err := d.Decode(&row); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("row %d: %w", len(rows)+1, err)
		}
		if person, ok := row["personalInfo"].(map[string]any); ok {
			delete(row, "personalInfo")
			maps.Copy(row, person)
		}
		if len(row) != len(header) {
			return nil, fmt.Errorf("row %d has %d members, want %d", len(rows)+1, len(row), len(header))
		}
		var cells []string
		for _, name := range header {
			cells = append(cells, cellOf(row[name]))
		}
		rows = append(rows, cells)
	}
}

// ParseParquet is as ParseJSONL, of Parquet.
func ParseParquet(header []string, file []byte) (rows [][]string, err error) {
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	r := parquet.NewGenericReader[any](f)
	defer r.Close()
	fields := r.Schema().Fields()
	var names []string
	for _, f := range fields {
		names = append(names, f.Name())
	}
	if want := append(slices.Clone(header), "_rescued_data"); !slices.Equal(names, want) {
		return nil, fmt.Errorf("the columns are %q, want %q", names, want)
	}
	batch := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(batch)
		for _, row := range batch[:n] {
			values := map[string]any{}
			for i, column := range row.Range {
				values[fields[i].Name()] = parquetValue(fields[i], column)
			}
			if rescued, ok := values["_rescued_data"].(string); ok {
				if err := json.Unmarshal([]byte(rescued), &values); err != nil {
					return nil, fmt.Errorf("row %d: %w", len(rows)+1, err)
				}
			}
			var cells []string
			for _, name := range header {
				cells = append(cells, cellOf(values[name]))
			}
			rows = append(rows, cells)
		}
		if errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// parquetValue is a value in the form that it has in JSONL.
func parquetValue(field parquet.Field, values []parquet.Value) any {
	if field.Leaf() {
		return parquetText(field.Type().String(), values[0])
	}
	var list []any
	for _, v := range values {
		if v.DefinitionLevel() > 1 {
			list = append(list, parquetText("", v))
		}
	}
	return list
}

func parquetText(typ string, v parquet.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Kind() == parquet.Double:
		return csvrowtest.Text(v.Double())
	case v.Kind() == parquet.Int64:
		return time.UnixMicro(v.Int64()).UTC().Format("2006-01-02T15:04:05.000000Z")
	case v.Kind() == parquet.Int32:
		return time.Unix(int64(v.Int32())*86400, 0).UTC().Format(time.DateOnly)
	case v.Kind() != parquet.ByteArray:
		return typ + " " + strconv.Itoa(int(v.Kind()))
	}
	return string(v.ByteArray())
}
