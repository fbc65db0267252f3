package e2etest

import (
	"bytes"
	"fmt"
)

// ParseCSV reads a file by the letter of RFC 4180: rows end with CR LF, cells that hold a quote, comma or
// line break are quoted, and what is inside quotes is kept as it is. encoding/csv is no judge for that: it
// turns CR LF inside quotes into LF.
func ParseCSV(file []byte) ([][]string, error) { return ParseCells(file, ',') }

// ParseCells is ParseCSV of a file with another delimiter.
func ParseCells(file []byte, delimiter byte) ([][]string, error) {
	var rows [][]string
	for len(file) > 0 {
		var row []string
		for {
			cell, rest, err := parseCell(file, delimiter)
			if err != nil {
				return nil, fmt.Errorf("row %d, cell %d: %w", len(rows)+1, len(row)+1, err)
			}
			row, file = append(row, cell), rest
			if len(file) > 0 && file[0] == delimiter {
				file = file[1:]
				continue
			}
			break
		}
		rest, ok := bytes.CutPrefix(file, []byte("\r\n"))
		if !ok {
			return nil, fmt.Errorf("row %d ends with %.20q, not CR LF", len(rows)+1, file)
		}
		rows, file = append(rows, row), rest
	}
	return rows, nil
}

func parseCell(b []byte, delimiter byte) (cell string, rest []byte, err error) {
	if len(b) == 0 || b[0] != '"' {
		i := bytes.IndexFunc(b, func(r rune) bool { return r == rune(delimiter) || r == '\r' || r == '\n' || r == '"' })
		switch {
		case i < 0:
			return string(b), nil, nil
		case b[i] == '"':
			return "", nil, fmt.Errorf("a quote inside the unquoted cell %.40q", b)
		}
		return string(b[:i]), b[i:], nil
	}
	var text []byte
	for b = b[1:]; ; {
		i := bytes.IndexByte(b, '"')
		if i < 0 {
			return "", nil, fmt.Errorf("the quoted cell %.40q does not end", text)
		}
		text, b = append(text, b[:i]...), b[i+1:]
		if len(b) == 0 || b[0] != '"' {
			return string(text), b, nil
		}
		text, b = append(text, '"'), b[1:]
	}
}
