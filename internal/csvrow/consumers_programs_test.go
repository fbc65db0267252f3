//go:build consumers

package csvrow_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"exportd/internal/dataset"
	"exportd/internal/machinetest"
)

// script is a reader that a program of another language is, in testdata/consumers.
func script(program, name, reader string) func(t *testing.T, s *sample) ([][]string, error) {
	return func(t *testing.T, s *sample) ([][]string, error) {
		folder := filepath.Join("testdata", "consumers")
		if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
			machinetest.Lacks(t, "readers of CSV (npm ci --prefix internal/csvrow/testdata/consumers)")
		}
		header := "on"
		if s.opts.NoHeader {
			header = "off"
		}
		out, err := run(t, "", program, filepath.Join(folder, name), reader, s.path, string(rune(s.opts.Comma())), header, s.encoding())
		if err != nil {
			return nil, err
		}
		return digits(out)
	}
}

// run gives what a program prints.
func run(t *testing.T, in, program string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), machinetest.Program(t, program), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %.2000s", program, err, stderr.Bytes())
	}
	return out, nil
}

// digits reads rows as the scripts print them.
func digits(out []byte) (rows [][]string, _ error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		row := strings.Split(lines.Text(), ",")
		for i, cell := range row {
			if cell == "-" {
				row[i] = null
				continue
			}
			text, err := hex.DecodeString(cell)
			if err != nil {
				return nil, fmt.Errorf("a line is %.200q: %w", lines.Text(), err)
			}
			row[i] = string(text)
		}
		rows = append(rows, row)
	}
	return rows, lines.Err()
}

// sqlite has SQLite's shell make a table of the file.
func sqlite(t *testing.T, s *sample) ([][]string, error) {
	columns := dataset.VIPMessages.Headers()
	var in strings.Builder
	if s.opts.NoHeader { // it takes the first row for the names of a new table
		fmt.Fprintf(&in, "CREATE TABLE messages(\"%s\");\n", strings.Join(columns, `", "`))
	}
	file := s.path
	if program := s.through(); program != "" {
		file = "\"|" + program + " " + s.path + "\""
	}
	fmt.Fprintf(&in, ".mode csv\n.separator %q\n.import %s messages\n.mode list\n", string(rune(s.opts.Comma())), file)
	fmt.Fprintf(&in, "SELECT coalesce(hex(\"%s\"), '-') FROM messages ORDER BY rowid;\n", strings.Join(columns, `"), '-') || ',' || coalesce(hex("`))
	out, err := run(t, in.String(), "sqlite3", "-bail", ":memory:")
	if err != nil {
		return nil, err
	}
	rows, err := digits(out)
	if err == nil && !s.opts.NoHeader { // it has found these, or the SELECT would have failed
		rows = append([][]string{columns}, rows...)
	}
	return rows, err
}

// miller has Miller print what it finds, name by name: its JSON has control characters as they are.
func miller(t *testing.T, s *sample) ([][]string, error) {
	const equals, comma, end = "<equals>", "<comma>", "<end>" // which are in no cell
	args := []string{"-S", "--icsv", "--odkvp", "--ifs", string(rune(s.opts.Comma())), "--ops", equals, "--ofs", comma, "--ors", end}
	names := dataset.VIPMessages.Headers()
	if s.opts.NoHeader {
		args = append(args, "--implicit-csv-header")
		for i := range names {
			names[i] = strconv.Itoa(i + 1)
		}
	}
	// Not by --prepipe: Miller 6.6 then loses the last rows in one of seven runs, and ends with success.
	in := string(s.bytes)
	if program := s.through(); program != "" {
		utf8, err := run(t, in, "sh", "-c", program)
		if err != nil {
			return nil, err
		}
		in = string(utf8)
	}
	out, err := run(t, in, "mlr", append(args, "cat")...)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	if !s.opts.NoHeader {
		rows = append(rows, names)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), end), end) {
		row := strings.Split(line, comma)
		for i := range row {
			name, cell, _ := strings.Cut(row[i], equals)
			if i >= len(names) || name != names[i] {
				return nil, fmt.Errorf("row %d has the cells %.300q", len(rows), row)
			}
			row[i] = cell
		}
		rows = append(rows, row)
	}
	return rows, nil
}
