package demo

import (
	"iter"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// Document is one document to write. Path is relative to the database, as in "VipUsers/0aB...". The receiver
// owns Fields.
type Document struct {
	Path   string
	Fields map[string]*firestorepb.Value
}

// Dataset makes the documents for one [Options]. It is immutable and safe for concurrent use; each iterator
// starts from the beginning.
type Dataset struct {
	options   Options
	directory directory
	corpus    *corpus
	labels    []string // custom label ids
}

// Generate returns the dataset. The first call unpacks the sources (about 0.1 s, and 10 MB from then on). It
// fails only where options make no sense.
func Generate(options Options) (*Dataset, error) {
	options, err := options.normalised()
	if err != nil {
		return nil, err
	}
	corpus, err := unpacked()
	if err != nil {
		return nil, err
	}
	labels := make([]string, 8)
	for i := range labels {
		labels[i] = "ai_" + documentID(options.Seed, "label", i)[:12]
	}
	return &Dataset{options, newDirectory(options.Seed), corpus, labels}, nil
}

// All yields every document of the dataset, in a fixed order.
func (d *Dataset) All() iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for _, part := range []iter.Seq[Document]{d.Directory(), d.Users(), d.Messages()} {
			for document := range part {
				if !yield(document) {
					return
				}
			}
		}
	}
}

// Directory yields the workspaces and channels.
func (d *Dataset) Directory() iter.Seq[Document] {
	return each(newDirectory(d.options.Seed).documents) // afresh: the receiver owns them
}

// Users yields the users: Options.Users by index, then the hand-made ones.
func (d *Dataset) Users() iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for i := range d.options.Users {
			if !yield(d.user(i)) {
				return
			}
		}
		each(d.edgeUsers())(yield)
	}
}

// Messages yields the messages: Options.Messages by index, then the hazard strings, then the hand-made ones.
func (d *Dataset) Messages() iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for i := range d.options.Messages {
			if !yield(d.message(i)) {
				return
			}
		}
		for i := range d.corpus.hazards {
			if !yield(d.hazardMessage(i)) {
				return
			}
		}
		each(d.edgeMessages())(yield)
	}
}

func each(documents []Document) iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for _, document := range documents {
			if !yield(document) {
				return
			}
		}
	}
}

// within returns a random instant of the span before Now, to the microsecond.
func (d *Dataset) within(random *draw, span time.Duration) time.Time {
	back := time.Duration(random.n(int(span/time.Microsecond))+1) * time.Microsecond
	return d.options.Now.Add(-back)
}
