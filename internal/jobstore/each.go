package jobstore

import (
	"context"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
)

// each calls fn with every document of a query, one in memory at a time: a thousand damaged ones may have a
// megabyte each.
func each(ctx context.Context, q firestore.Query, fn func(*firestore.DocumentSnapshot) error) error {
	it := q.Documents(ctx)
	defer it.Stop()
	for {
		doc, err := it.Next()
		if err == iterator.Done {
			return nil
		}
		if err != nil {
			return classify(err)
		}
		if err := fn(doc); err != nil {
			return err
		}
	}
}
