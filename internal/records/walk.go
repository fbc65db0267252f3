package records

import (
	"context"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/vip"
	"exportd/internal/vip/wire"
)

// walkPage is how many documents a walk asks for at a time: production sends them within seconds, and ends a
// stream after 60.
const walkPage = 5000

// Walk calls row with every document that meets the conditions of q, also those without its sort field, in
// the order of ids. A document has the named fields alone, and is valid until row returns, as is its id.
// Pages see different times. It costs a read for each document. An error of row ends it and is returned as it
// is.
func (r *Reader) Walk(ctx context.Context, q vip.Query, fields []string, row func(id, doc []byte) error) error {
	return r.walk(ctx, q, fields, walkPage, row)
}

func (r *Reader) walk(ctx context.Context, q vip.Query, fields []string, page int, row func(id, doc []byte) error) error {
	sq, err := r.structured(q.Unsorted(), vip.Range{})
	if err != nil {
		return err
	}
	sq.OrderBy = []*firestorepb.StructuredQuery_Order{{Field: fieldRef(nameField), Direction: firestorepb.StructuredQuery_ASCENDING}}
	limitTo(sq, page)
	project(sq, fields...)
	finder := wire.Finder{Field: nameField} // no field has such a name
	for {
		rows := 0
		var refused error
		err := r.retry(ctx, "walk "+q.Collection, func(ctx context.Context) error {
			err := r.each(ctx, r.runRequest(sq, time.Time{}), func(doc []byte) error {
				name, _, err := finder.Find(doc)
				if err != nil {
					return err
				}
				rows++
				// The next request, also of another attempt, goes on from here.
				sq.StartAt = &firestorepb.Cursor{Values: []*firestorepb.Value{{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: string(name)}}}}
				refused = row(wire.ID(name), doc)
				return refused
			})
			if refused != nil {
				return nil
			}
			return err
		})
		if refused != nil {
			return refused
		}
		if err != nil || rows < page {
			return err
		}
	}
}
