//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"sync"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

type fields = map[string]any

func (c *goClients) things(id string) *firestore.CollectionRef {
	return c.firestore.Collection("rows/" + id + "/things")
}

func (c *goClients) numbers(ctx context.Context, id string) (*firestore.CollectionRef, error) {
	col := c.things(id)
	var err error
	for name, f := range map[string]fields{"a": {"n": 1, "kind": "x", "tags": []string{"red", "blue"}}, "b": {"n": 2, "kind": "x", "tags": []string{"blue"}},
		"c": {"n": 3, "kind": "y", "tags": []string{}}, "d": {"n": 2.5, "kind": "y", "tags": []string{"red"}}, "e": {"n": nil, "kind": "z"}} {
		_, e := col.Doc(name).Set(ctx, f)
		err = errors.Join(err, e)
	}
	return col, err
}

func goFound(ctx context.Context, q firestore.Query) ([]string, error) {
	docs, err := q.Documents(ctx).GetAll()
	ids := []string{}
	for _, d := range docs {
		ids = append(ids, d.Ref.ID)
	}
	return ids, err
}

// queryOf is a row that finds documents among numbers.
func queryOf(f func(*firestore.CollectionRef) firestore.Query) goRow {
	return func(ctx context.Context, c *goClients, id string) (any, error) {
		col, err := c.numbers(ctx, id)
		if err != nil {
			return nil, err
		}
		return goFound(ctx, f(col))
	}
}

var goFirestore = map[string]goRow{
	"create what is there": func(ctx context.Context, c *goClients, id string) (any, error) {
		if _, err := c.things(id).Doc("a").Create(ctx, fields{"n": 1}); err != nil {
			return nil, err
		}
		_, err := c.things(id).Doc("a").Create(ctx, fields{"n": 2})
		return nil, err
	},
	"set with merge": func(ctx context.Context, c *goClients, id string) (any, error) {
		ref := c.things(id).Doc("a")
		_, err := ref.Set(ctx, fields{"n": 1, "m": fields{"a": 1, "b": 2}})
		_, err2 := ref.Set(ctx, fields{"m": fields{"b": 3}, "o": 4}, firestore.MergeAll)
		snap, err3 := ref.Get(ctx)
		return snap.Data(), errors.Join(err, err2, err3)
	},
	"update what is not there": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, err := c.things(id).Doc("none").Update(ctx, []firestore.Update{{Path: "n", Value: 1}})
		return nil, err
	},
	"delete if it is there": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, err := c.things(id).Doc("none").Delete(ctx, firestore.Exists)
		return nil, err
	},
	"numeric ids": func(ctx context.Context, c *goClients, id string) (any, error) {
		col := c.things(id)
		for i, name := range []string{"__id7__", "__id-9223372036854775808__", "__id100__", "a"} {
			if _, err := col.Doc(name).Set(ctx, fields{"n": i + 1}); err != nil {
				return nil, err
			}
		}
		snap, err := col.Doc("__id7__").Get(ctx)
		if err != nil {
			return nil, err
		}
		ids, err := goFound(ctx, col.Query)
		return []any{snap.Data(), ids}, err
	},
	"where ==":     queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.Where("kind", "==", "x") }),
	"where !=":     queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.Where("n", "!=", 2) }),
	"where in":     queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.Where("n", "in", []any{3, 2.5, 17, nil}) }),
	"where not-in": queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.Where("n", "not-in", []any{1, 3}) }),
	"where array-contains": queryOf(func(c *firestore.CollectionRef) firestore.Query {
		return c.Where("tags", "array-contains", "red")
	}),
	"limit":       queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.OrderBy("n", firestore.Asc).Limit(2) }),
	"limitToLast": queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.OrderBy("n", firestore.Asc).LimitToLast(2) }),
	"offset":      queryOf(func(c *firestore.CollectionRef) firestore.Query { return c.OrderBy("n", firestore.Asc).Offset(3) }),
	"orderBy two fields": queryOf(func(c *firestore.CollectionRef) firestore.Query {
		return c.OrderBy("kind", firestore.Asc).OrderBy("n", firestore.Desc)
	}),
	"a query without its index": queryOf(func(c *firestore.CollectionRef) firestore.Query {
		return c.Where("kind", "==", "x").OrderBy("tags", firestore.Asc)
	}),
	"a transaction that throws": func(ctx context.Context, c *goClients, id string) (any, error) {
		err := c.firestore.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
			return errors.Join(tx.Set(c.things(id).Doc("a"), fields{}), errors.New("no"))
		})
		ids, err2 := goFound(ctx, c.things(id).Query)
		return []any{err.Error(), ids}, err2
	},
}

// topic makes a topic and a subscription to it.
func (c *goClients) topic(ctx context.Context, id string, s *pubsubpb.Subscription) (topic, sub string, err error) {
	topic, sub = "projects/"+goProject+"/topics/topic-"+id, "projects/"+goProject+"/subscriptions/sub-"+id
	if _, err := c.pubsub.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		return topic, sub, err
	}
	s.Name, s.Topic = sub, topic
	_, err = c.pubsub.SubscriptionAdminClient.CreateSubscription(ctx, s)
	return topic, sub, err
}

func (c *goClients) publish(ctx context.Context, topic string, messages ...*pubsub.Message) error {
	p := c.pubsub.Publisher(topic)
	defer p.Stop()
	p.EnableMessageOrdering = true
	var results []*pubsub.PublishResult
	for _, m := range messages {
		results = append(results, p.Publish(ctx, m))
	}
	var err error
	for _, r := range results {
		_, e := r.Get(ctx)
		err = errors.Join(err, e)
	}
	return err
}

// receive takes messages until there are enough.
func (c *goClients) receive(ctx context.Context, sub string, n int, take func(m *pubsub.Message, n int)) (texts []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	err = c.pubsub.Subscriber(sub).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		mu.Lock()
		defer mu.Unlock()
		texts = append(texts, string(m.Data))
		take(m, len(texts))
		if len(texts) == n {
			cancel()
		}
	})
	return texts, err
}

func ack(m *pubsub.Message, _ int) { m.Ack() }

func text(s string) *pubsub.Message { return &pubsub.Message{Data: []byte(s)} }

var goPubSub = map[string]goRow{
	"createTopic of what is there": func(ctx context.Context, c *goClients, id string) (any, error) {
		if _, _, err := c.topic(ctx, id, &pubsubpb.Subscription{}); err != nil {
			return nil, err
		}
		_, _, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		return nil, err
	},
	"setMetadata of a topic": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, _, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		got, err := c.pubsub.TopicAdminClient.UpdateTopic(ctx, &pubsubpb.UpdateTopicRequest{Topic: &pubsubpb.Topic{Name: topic, Labels: map[string]string{"c": "d"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}})
		return got.GetLabels(), err
	},
	"publish nothing": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, _, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		return nil, c.publish(ctx, topic, text(""))
	},
	"publish to no topic": func(ctx context.Context, c *goClients, id string) (any, error) {
		return nil, c.publish(ctx, "projects/"+goProject+"/topics/none-"+id, text("a"))
	},
	"publish with an ordering key": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{EnableMessageOrdering: true})
		if err != nil {
			return nil, err
		}
		var all []*pubsub.Message
		for i := range 20 {
			all = append(all, &pubsub.Message{Data: []byte{byte('a' + i)}, OrderingKey: "k"})
		}
		if err := c.publish(ctx, topic, all...); err != nil {
			return nil, err
		}
		key := ""
		texts, err := c.receive(ctx, sub, 20, func(m *pubsub.Message, _ int) { key = m.OrderingKey; m.Ack() })
		return []any{slices.IsSorted(texts), key}, err
	},
	"receive and ack": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		if err := c.publish(ctx, topic, text("a"), text("b"), text("c")); err != nil {
			return nil, err
		}
		texts, err := c.receive(ctx, sub, 3, ack)
		slices.Sort(texts)
		return texts, err
	},
	"nack": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		if err := c.publish(ctx, topic, text("a")); err != nil {
			return nil, err
		}
		return c.receive(ctx, sub, 2, func(m *pubsub.Message, n int) {
			if n == 1 {
				m.Nack()
				return
			}
			m.Ack()
		})
	},
	"a filter": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{Filter: `attributes.kind = "x" AND NOT attributes:skip`})
		if err != nil {
			return nil, err
		}
		if err := c.publish(ctx, topic, &pubsub.Message{Data: []byte("no"), Attributes: map[string]string{"kind": "y"}}, &pubsub.Message{Data: []byte(`{"kind":"x"}`), Attributes: map[string]string{"kind": "x"}}); err != nil {
			return nil, err
		}
		return c.receive(ctx, sub, 1, ack)
	},
	"a filter that is none": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, _, err := c.topic(ctx, id, &pubsubpb.Subscription{Filter: "kind =="})
		return "done", err
	},
	"a deadline of more than 600 s": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, _, err := c.topic(ctx, id, &pubsubpb.Subscription{AckDeadlineSeconds: 601})
		return "done", err
	},
	"a subscription whose topic is deleted": func(ctx context.Context, c *goClients, id string) (any, error) {
		topic, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		err = errors.Join(c.publish(ctx, topic, text("a")), c.pubsub.TopicAdminClient.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic}))
		got, err2 := c.pubsub.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: sub})
		texts, err3 := c.receive(ctx, sub, 1, ack)
		return []any{got.GetTopic(), texts}, errors.Join(err, err2, err3)
	},
	"detachSubscription": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, sub, err := c.topic(ctx, id, &pubsubpb.Subscription{})
		if err != nil {
			return nil, err
		}
		if _, err := c.pubsub.TopicAdminClient.DetachSubscription(ctx, &pubsubpb.DetachSubscriptionRequest{Subscription: sub}); err != nil {
			return nil, err
		}
		got, err := c.pubsub.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: sub})
		_, pulled := c.pubsub.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: sub, MaxMessages: 1})
		return []any{got.GetDetached(), int(status.Code(pulled))}, err
	},
	"receive from no subscription": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, err := c.receive(ctx, "projects/"+goProject+"/subscriptions/none-"+id, 1, ack)
		return nil, err
	},
}

func (c *goClients) bucket(ctx context.Context, id string) (*storage.BucketHandle, error) {
	b := c.storage.Bucket("rows-" + id + "-demo")
	return b, b.Create(ctx, goProject, nil)
}

func write(ctx context.Context, o *storage.ObjectHandle, data []byte, set ...func(*storage.Writer)) error {
	w := o.NewWriter(ctx)
	for _, f := range set {
		f(w)
	}
	_, err := w.Write(data)
	return errors.Join(err, w.Close())
}

func read(ctx context.Context, o *storage.ObjectHandle) (string, error) {
	r, err := o.NewReader(ctx)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(r)
	return string(data), errors.Join(err, r.Close())
}

// fileOf is a row with an object a in a bucket of its own, that has data unless that is "".
func fileOf(data string, f func(context.Context, *storage.BucketHandle, *storage.ObjectHandle) (any, error)) goRow {
	return func(ctx context.Context, c *goClients, id string) (any, error) {
		b, err := c.bucket(ctx, id)
		if err != nil {
			return nil, err
		}
		o := b.Object("a")
		if data != "" {
			if err := write(ctx, o, []byte(data)); err != nil {
				return nil, err
			}
		}
		return f(ctx, b, o)
	}
}

func names(ctx context.Context, b *storage.BucketHandle, q *storage.Query) (out []string, err error) {
	for it := b.Objects(ctx, q); ; {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, path.Join(o.Prefix, o.Name))
	}
}

// httpCode is 412 of an error that has it.
func httpCode(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}

// goTwice makes a bucket that keeps versions, with an object that was written twice.
func goTwice(f func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle, one int64) (any, error)) goRow {
	return func(ctx context.Context, c *goClients, id string) (any, error) {
		b := c.storage.Bucket("go-" + id + "-versions")
		if err := b.Create(ctx, goProject, &storage.BucketAttrs{VersioningEnabled: true}); err != nil {
			return nil, err
		}
		o := b.Object("a")
		err := write(ctx, o, []byte("one"))
		attrs, err2 := o.Attrs(ctx)
		if err := errors.Join(err, err2, write(ctx, o, []byte("two"))); err != nil {
			return nil, err
		}
		return f(ctx, b, o, attrs.Generation)
	}
}

func goVersions(ctx context.Context, b *storage.BucketHandle) (ended []bool, err error) {
	for it := b.Objects(ctx, &storage.Query{Versions: true}); ; {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return ended, nil
		}
		if err != nil {
			return nil, err
		}
		ended = append(ended, !o.Deleted.IsZero())
	}
}

var goStorage = map[string]goRow{
	"versions, each read": goTwice(func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle, one int64) (any, error) {
		live, err := read(ctx, o)
		old, err2 := read(ctx, o.Generation(one))
		attrs, err3 := o.Attrs(ctx)
		ended, err4 := goVersions(ctx, b)
		if err := errors.Join(err, err2, err3, err4); err != nil {
			return nil, err
		}
		two, err := read(ctx, o.Generation(attrs.Generation))
		return []any{live, old, two, ended, strconv.FormatInt(attrs.Metageneration, 10)}, err
	}),
	"a version restored": goTwice(func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle, one int64) (any, error) {
		err := o.Delete(ctx)
		_, gone := o.Attrs(ctx)
		_, err2 := o.If(storage.Conditions{DoesNotExist: true}).CopierFrom(o.Generation(one)).Run(ctx)
		got, err3 := read(ctx, o)
		ended, err4 := goVersions(ctx, b)
		return []any{!errors.Is(gone, storage.ErrObjectNotExist), got, len(ended)}, errors.Join(err, err2, err3, err4)
	}),
	"a version deleted for good": goTwice(func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle, one int64) (any, error) {
		err := o.Generation(one).Delete(ctx)
		_, gone := o.Generation(one).Attrs(ctx)
		got, err2 := read(ctx, o)
		ended, err3 := goVersions(ctx, b)
		return []any{!errors.Is(gone, storage.ErrObjectNotExist), got, len(ended)}, errors.Join(err, err2, err3)
	}),
	"createBucket of what is there": func(ctx context.Context, c *goClients, id string) (any, error) {
		if _, err := c.bucket(ctx, id); err != nil {
			return nil, err
		}
		_, err := c.bucket(ctx, id)
		return nil, err
	},
	"getMetadata of no bucket": func(ctx context.Context, c *goClients, id string) (any, error) {
		_, err := c.storage.Bucket("none-" + id).Attrs(ctx)
		return "done", err
	},
	"save": fileOf("hello", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		return read(ctx, o)
	}),
	"download a range": fileOf("0123456789", goRanges),
	"save in chunks": fileOf("", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		data := bytes.Repeat([]byte("0123456789"), 100_000)
		if err := write(ctx, o, data, func(w *storage.Writer) { w.ChunkSize = 256 << 10 }); err != nil {
			return nil, err
		}
		got, err := read(ctx, o)
		return []any{got == string(data), "1000000"}, err
	}),
	"save with a checksum that is wrong": fileOf("", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		return nil, write(ctx, o, []byte("hello"), func(w *storage.Writer) { w.CRC32C, w.SendCRC32C = 1, true })
	}),
	"download of nothing there": fileOf("", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		_, err := read(ctx, o)
		if errors.Is(err, storage.ErrObjectNotExist) {
			return fields{"error": 404, "message": "No such object, as the client words it: " + err.Error()}, nil
		}
		return nil, err
	}),
	"setMetadata if it is as it was": fileOf("a", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		_, err := o.If(storage.Conditions{MetagenerationMatch: 7}).Update(ctx, storage.ObjectAttrsToUpdate{ContentType: "a/b"})
		return nil, err
	}),
	"save if there is none": fileOf("one", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		failed := write(ctx, o.If(storage.Conditions{DoesNotExist: true}), []byte("two"))
		got, err := read(ctx, o)
		return []any{httpCode(failed), got}, err
	}),
	"a temporary hold": fileOf("a", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		_, err := o.Update(ctx, storage.ObjectAttrsToUpdate{TemporaryHold: true})
		failed := o.Delete(ctx)
		_, err2 := o.Update(ctx, storage.ObjectAttrsToUpdate{TemporaryHold: false})
		return httpCode(failed), errors.Join(err, err2, o.Delete(ctx))
	}),
	"rename": fileOf("a", func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		if _, err := b.Object("b").CopierFrom(o).Run(ctx); err != nil {
			return nil, err
		}
		if err := o.Delete(ctx); err != nil {
			return nil, err
		}
		return names(ctx, b, nil)
	}),
	"combine": fileOf("a", func(ctx context.Context, b *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		err := errors.Join(write(ctx, b.Object("b"), []byte("b")), write(ctx, b.Object("c"), []byte("dir/c")))
		if err != nil {
			return nil, err
		}
		all := b.Object("all")
		attrs, err := all.ComposerFrom(o, b.Object("b"), b.Object("c")).Run(ctx)
		if err != nil {
			return nil, err
		}
		got, err := read(ctx, all)
		return []any{got, attrs.ComponentCount, len(attrs.MD5) == 0}, err
	}),
	"getFiles of a range and a pattern": fileOf("a", func(ctx context.Context, b *storage.BucketHandle, _ *storage.ObjectHandle) (any, error) {
		for _, name := range []string{"b", "dir/c", "dir/d", "dir/sub/e"} {
			if err := write(ctx, b.Object(name), []byte(name)); err != nil {
				return nil, err
			}
		}
		some, err := names(ctx, b, &storage.Query{StartOffset: "b", EndOffset: "dir/d"})
		glob, err2 := names(ctx, b, &storage.Query{MatchGlob: "**/{c,e}"})
		return []any{some, glob}, errors.Join(err, err2)
	}),
	"delete no file": fileOf("", func(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
		err := o.Delete(ctx)
		if errors.Is(err, storage.ErrObjectNotExist) {
			return fields{"error": 404, "message": "No such object, as the client words it: " + err.Error()}, nil
		}
		return nil, err
	}),
	"delete a bucket with objects": fileOf("a", func(ctx context.Context, b *storage.BucketHandle, _ *storage.ObjectHandle) (any, error) {
		return nil, b.Delete(ctx)
	}),
}

func goRanges(ctx context.Context, _ *storage.BucketHandle, o *storage.ObjectHandle) (any, error) {
	var out []string
	for _, r := range [][2]int64{{2, 3}, {7, -1}, {-3, -1}} {
		in, err := o.NewRangeReader(ctx, r[0], r[1])
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil {
			return nil, err
		}
		out = append(out, string(data))
	}
	return out, nil
}
