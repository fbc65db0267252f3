package parquetrow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	magic = "PAR1"
	// TailBytes is how many bytes at the end of a file say how long its footer is.
	TailBytes = 4 + len(magic)
)

var errDamaged = errors.New("a part is no file of Parquet")

// ErrTooLarge says that files together are more than one file of Parquet can be.
var ErrTooLarge = errors.New("too large for one file of Parquet")

// FooterBytes is how many bytes the footer of a file has, TailBytes with it, given the last TailBytes of it.
func FooterBytes(tail []byte) (int64, error) {
	if len(tail) < TailBytes || string(tail[len(tail)-len(magic):]) != magic {
		return 0, errDamaged
	}
	return int64(binary.LittleEndian.Uint32(tail[len(tail)-TailBytes:])) + int64(TailBytes), nil
}

// Join makes the footer of files that lie end to end. What each begins and ends with stays where it is,
// between the groups of rows, where nobody looks: readers go from the footer that comes last to where it says
// that the groups are.
type Join struct {
	file format.FileMetaData
	at   int64 // where the next file begins
	any  bool
}

// Add adds the file that comes next: its footer, with TailBytes, and its size.
func (j *Join) Add(footer []byte, size int64) error {
	n, err := FooterBytes(footer)
	if err != nil || n != int64(len(footer)) || n > size {
		return errors.Join(errDamaged, err)
	}
	var part format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer[:len(footer)-TailBytes], &part); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if !j.any {
		j.file, j.any = part, true
		j.file.NumRows, j.file.RowGroups = 0, nil
	} else if !reflect.DeepEqual(part.Schema, j.file.Schema) {
		return fmt.Errorf("%w like the first: it has other columns", errDamaged)
	}
	if len(j.file.RowGroups)+len(part.RowGroups) > math.MaxInt16 {
		return fmt.Errorf("%w: more than %d groups of rows", ErrTooLarge, math.MaxInt16)
	}
	for _, group := range part.RowGroups {
		shift(&group, j.at)
		group.Ordinal = int16(len(j.file.RowGroups))
		j.file.RowGroups = append(j.file.RowGroups, group)
	}
	j.file.NumRows += part.NumRows
	j.at += size
	return nil
}

// shift moves a group to where it is in the whole. The index of its pages stays behind: it has places of its
// own, and readers do without.
func shift(group *format.RowGroup, by int64) {
	group.FileOffset += by
	for i := range group.Columns {
		c := &group.Columns[i]
		c.OffsetIndexOffset, c.OffsetIndexLength, c.ColumnIndexOffset, c.ColumnIndexLength = 0, 0, 0, 0
		c.MetaData.DataPageOffset += by
		if c.MetaData.DictionaryPageOffset > 0 {
			c.MetaData.DictionaryPageOffset += by
		}
	}
}

// Rows is how many rows the files have that were added.
func (j *Join) Rows() int64 { return j.file.NumRows }

// Footer is that of the whole, to lie behind all files that were added.
func (j *Join) Footer() ([]byte, error) {
	b, err := thrift.Marshal(new(thrift.CompactProtocol), &j.file)
	if err != nil {
		return nil, err
	}
	if len(b) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: a footer of %d bytes", ErrTooLarge, len(b))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)))
	return append(b, magic...), nil
}
