package parquetrow

import (
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/snappy"

	"exportd/internal/dataset"
)

// columns are those of a file in their order; parquet.Group has them by name.
type columns struct {
	parquet.Group
	fields []parquet.Field
}

func (c columns) Fields() []parquet.Field { return c.fields }

// schema is that of a file of a dataset, with some of its columns. Columns of text that are not plain have
// dictionaries.
func schema(name string, of []dataset.Column, plain []bool) *parquet.Schema {
	group := parquet.Group{dataset.RescuedColumn: text(plain[len(of)])}
	order := map[string]int{dataset.RescuedColumn: len(of)}
	for i, c := range of {
		group[c.Header()], order[c.Header()] = node(c.Type, plain[i]), i
	}
	fields := make([]parquet.Field, len(order))
	for _, f := range group.Fields() {
		fields[order[f.Name()]] = f
	}
	return parquet.NewSchema(name, columns{group, fields})
}

func text(plain bool) parquet.Node {
	if plain {
		return parquet.Optional(parquet.String())
	}
	return parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
}

func node(t dataset.Type, plain bool) parquet.Node {
	switch t {
	case dataset.Number:
		return parquet.Optional(parquet.Leaf(parquet.DoubleType))
	case dataset.Time:
		return parquet.Optional(parquet.Timestamp(parquet.Microsecond))
	case dataset.Date:
		return parquet.Optional(parquet.Date())
	case dataset.Array:
		return parquet.Optional(parquet.List(text(plain)))
	}
	return text(plain)
}

// options are those of a file. Pages are of the first version, which every reader knows.
func options(name string, of []dataset.Column, plain []bool) []parquet.WriterOption {
	opts := []parquet.WriterOption{
		schema(name, of, plain), parquet.Compression(&snappy.Codec{}), parquet.DataPageVersion(1), parquet.DataPageStatistics(false),
		parquet.PageBufferSize(pageBytes), parquet.WriteBufferSize(writeBytes), parquet.DictionaryMaxBytes(dictionaryBytes),
		parquet.SkipPageBounds(dataset.RescuedColumn),
	}
	for _, c := range of {
		switch c.Type {
		case dataset.Text:
			opts = append(opts, parquet.SkipPageBounds(c.Header()))
		case dataset.Array:
			opts = append(opts, parquet.SkipPageBounds(c.Header(), "list", "element"))
		}
	}
	return opts
}

func parseDate(s []byte) (time.Time, error) { return time.Parse(time.DateOnly, string(s)) }
