package jobstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/jobs"
)

// maxDisjunctions is how many pairs of values a query may ask for by "in" of two fields, as
// https://cloud.google.com/firestore/docs/query-data/queries#limits_on_or_queries says.
const maxDisjunctions = 30

// readable lists the versions of documents that this build reads.
func readable() (versions []int) {
	for v := jobs.OldestSchema; v <= jobs.SchemaVersion; v++ {
		versions = append(versions, v)
	}
	return versions
}

// ofVersions has a query ask for documents of some versions.
func ofVersions(q firestore.Query, versions []int) firestore.Query {
	if len(versions) == 1 {
		return q.Where("schema", "==", versions[0])
	}
	return q.Where("schema", "in", versions)
}

// firstDue gives what a query by (wakeAt, name) with a limit finds of some versions and shards. Each version
// after the first multiplies what is asked for, so that the shards of a single rescuer take as many queries
// as there are versions, a read a second of a class each while nothing is due (0.2 USD a day of all four),
// and those of several rescuers no more than one version does. They are equalities, as an index by (schema,
// shard, wakeAt) serves them: a range of schema beside that of wakeAt would read through whatever is due of
// later versions, each second.
func firstDue(ctx context.Context, q firestore.Query, versions, shards []int, limit int) ([]*firestore.DocumentSnapshot, error) {
	var queries []firestore.Query
	for some := range slices.Chunk(shards, max(maxDisjunctions/len(versions), 1)) {
		queries = append(queries, ofVersions(q, versions).Where("shard", "in", some))
	}
	if len(queries) == 1 {
		return queries[0].Documents(ctx).GetAll()
	}
	found := make([][]*firestore.DocumentSnapshot, len(queries))
	g, ctx := errgroup.WithContext(ctx)
	for i, q := range queries {
		g.Go(panics.Task(func() (err error) {
			found[i], err = q.Documents(ctx).GetAll()
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	docs := slices.Concat(found...)
	slices.SortFunc(docs, func(a, b *firestore.DocumentSnapshot) int {
		return cmp.Or(dueAt(a).Compare(dueAt(b)), slices.Compare(strings.Split(a.Ref.Path, "/"), strings.Split(b.Ref.Path, "/")))
	})
	return docs[:min(limit, len(docs))], nil
}

func dueAt(doc *firestore.DocumentSnapshot) time.Time {
	raw, _ := doc.DataAt("wakeAt") // that it is a time, the query has made sure
	at, _ := raw.(time.Time)
	return at
}
