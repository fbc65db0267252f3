package demo

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// writesPerCommit is under the 500 that Firestore allowed for years and its emulators may still hold to;
	// larger ones gain nothing measurable.
	writesPerCommit = 400
	// bytesPerCommit of text keeps a request with long texts under the 4 MiB that a gRPC server accepts
	// unless told otherwise.
	bytesPerCommit = 1 << 20
	// commitsInFlight keeps both ends busy; it also bounds memory.
	commitsInFlight = 4
	// version of the documents, for whoever looks at an old data folder; raise it when they change.
	version = 1
)

// Summary is what a caller needs to use the data. It holds secrets: it goes to a file of mode 0600, never to
// a log.
type Summary struct {
	OrgID         string `json:"orgId"`
	APIKey        string `json:"apiKey"`
	Secret        string `json:"secret"`
	OpsAPIKey     string `json:"opsApiKey"`
	OpsSecret     string `json:"opsSecret"`
	WebhookSecret string `json:"webhookSecret"` // of APIKey
	WorkspaceID   string `json:"workspaceId"`
	MediumID      string `json:"mediumId"`

	OtherOrgID       string `json:"otherOrgId"`
	OtherAPIKey      string `json:"otherApiKey"`
	OtherSecret      string `json:"otherSecret"`
	OtherWorkspaceID string `json:"otherWorkspaceId"`
	OtherMediumID    string `json:"otherMediumId"`

	// DisabledAPIKey and ExpiredAPIKey are keys of the first org that must be refused although signed with
	// the right secret.
	DisabledAPIKey string `json:"disabledApiKey"`
	DisabledSecret string `json:"disabledSecret"`
	ExpiredAPIKey  string `json:"expiredApiKey"`
	ExpiredSecret  string `json:"expiredSecret"`

	// SideWorkspaceID and SideMediumID hold the texts of up to 98 kB and the users whose ltv is not a number.
	SideWorkspaceID string `json:"sideWorkspaceId"`
	SideMediumID    string `json:"sideMediumId"`

	// From and To are the first and the last day (YYYY-MM-DD, UTC) of the widest window, 31 days, that ends
	// with the data.
	From string `json:"from"`
	To   string `json:"to"`

	// Users and Messages are the rows of WorkspaceID and MediumID that the list routes return: all users, and
	// the messages From..To.
	Users    int `json:"users"`
	Messages int `json:"messages"`

	// Loaded is false where the data was complete already.
	Loaded bool `json:"-"`
	// AllUsers and AllMessages are the sizes that the data was made with.
	AllUsers    int `json:"-"`
	AllMessages int `json:"-"`
}

// Load writes the dataset to the target and returns how to use it.
//
// It is safe to repeat: ids depend on the seed alone, each document is replaced whole, and the document
// DemoData/{seed} says "complete" only after the last one is committed. Where it does, Load writes nothing,
// whatever the sizes asked for, and keeps the days of the first load, unless Options.Refill is set: rows that
// somebody works with are not changed behind their back. A load that was broken off is done again; one with
// smaller sizes deletes the rows beyond them. Keys are made once and then kept. Two loads at the same time
// are not foreseen.
//
// Rate limits and short outages are retried by the client, within ctx.
func Load(ctx context.Context, target Target, options Options) (Summary, error) {
	options, err := options.normalised()
	if err != nil {
		return Summary{}, err
	}
	l := &loader{target: target, options: options, directory: newDirectory(options.Seed)}
	before, err := l.readMarker(ctx)
	if err != nil {
		return Summary{}, err
	}
	if before.complete && !options.Refill {
		l.options.Now, l.options.Users, l.options.Messages = before.day, before.users, before.messages
		return l.summary(ctx, before.mainUsers, before.mainMessages)
	}
	l.note(0)
	data, err := Generate(options)
	if err != nil {
		return Summary{}, err
	}
	// Until it is complete, the marker holds the most rows there may be.
	most := marker{users: max(before.users, options.Users), messages: max(before.messages, options.Messages)}
	if err := l.writeMarker(ctx, most); err != nil {
		return Summary{}, err
	}
	if err := l.commitAll(ctx, l.writes(data, most)); err != nil {
		return Summary{}, err
	}
	summary, err := l.summary(ctx, l.mainUsers, l.mainMessages)
	if err != nil {
		return Summary{}, err
	}
	summary.Loaded = true
	return summary, l.writeMarker(ctx, marker{
		complete: true, users: options.Users, messages: options.Messages,
		mainUsers: l.mainUsers, mainMessages: l.mainMessages,
	})
}

// loader carries one Load. The counts belong to the goroutine that makes the writes.
type loader struct {
	target    Target
	options   Options
	directory directory

	mainUsers, mainMessages int

	progress sync.Mutex
	written  int
}

// note counts documents that are written.
func (l *loader) note(n int) {
	l.progress.Lock()
	defer l.progress.Unlock()
	l.written += n
	if l.options.Progress != nil {
		l.options.Progress(l.written)
	}
}

func (l *loader) name(path string) string { return l.target.Database + "/documents/" + path }

// writes yields every document of the dataset, then a deletion for each row of an earlier load that is not in
// it.
func (l *loader) writes(data *Dataset, most marker) iter.Seq[*firestorepb.Write] {
	return func(yield func(*firestorepb.Write) bool) {
		for document := range data.All() {
			l.count(document)
			if !yield(&firestorepb.Write{Operation: &firestorepb.Write_Update{
				Update: &firestorepb.Document{Name: l.name(document.Path), Fields: document.Fields},
			}}) {
				return
			}
		}
		remove := func(path string) bool {
			return yield(&firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: l.name(path)}})
		}
		for i := l.options.Users; i < most.users; i++ {
			if !remove("VipUsers/" + data.userID(i)) {
				return
			}
		}
		for i := l.options.Messages; i < most.messages; i++ {
			if !remove("VipMessages/" + data.messageID(i)) {
				return
			}
		}
	}
}

// count adds up what the list routes will return for the main place.
func (l *loader) count(document Document) {
	f, main := document.Fields, l.directory.main
	if f["workspaceId"].GetStringValue() != main.workspace || f["mediumId"].GetStringValue() != main.medium {
		return
	}
	if f["ltv"] != nil {
		l.mainUsers++
	}
	if when := f["timestamp"].GetTimestampValue(); when != nil &&
		!when.AsTime().Before(l.options.windowStart()) && when.AsTime().Before(l.options.Now) {
		l.mainMessages++
	}
}

func (l *loader) commitAll(parent context.Context, writes iter.Seq[*firestorepb.Write]) error {
	group, ctx := errgroup.WithContext(parent)
	group.SetLimit(commitsInFlight)
	var batch []*firestorepb.Write
	size := 0
	send := func() {
		full := batch
		batch, size = make([]*firestorepb.Write, 0, writesPerCommit), 0
		group.Go(func() error { // waits while commitsInFlight are under way
			err := l.commit(ctx, full)
			if err == nil {
				l.note(len(full))
			}
			return err
		})
	}
	for write := range writes {
		batch = append(batch, write)
		size += len(write.GetUpdate().GetFields()["text"].GetStringValue())
		if len(batch) == writesPerCommit || size >= bytesPerCommit {
			send()
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(batch) > 0 {
		send()
	}
	err := group.Wait()
	if err == nil {
		err = parent.Err() // the loop may have stopped between two batches
	}
	if err != nil {
		return fmt.Errorf("load demo data: %w", err)
	}
	return nil
}

func (l *loader) commit(ctx context.Context, writes []*firestorepb.Write) error {
	_, err := l.target.Client.Commit(ctx, &firestorepb.CommitRequest{Database: l.target.Database, Writes: writes})
	return err
}

func (l *loader) summary(ctx context.Context, users, messages int) (Summary, error) {
	d := l.directory
	caller, ops, other, disabled, expired := l.keys()
	s := Summary{
		OrgID: d.main.org, APIKey: caller.id, OpsAPIKey: ops.id,
		WorkspaceID: d.main.workspace, MediumID: d.main.medium,
		OtherOrgID: d.other.org, OtherAPIKey: other.id,
		OtherWorkspaceID: d.other.workspace, OtherMediumID: d.other.medium,
		DisabledAPIKey: disabled.id, ExpiredAPIKey: expired.id,
		SideWorkspaceID: d.side.workspace, SideMediumID: d.side.medium,
		From:  l.options.windowStart().Format(time.DateOnly),
		To:    l.options.Now.Add(-24 * time.Hour).Format(time.DateOnly),
		Users: users, Messages: messages,
		AllUsers: l.options.Users, AllMessages: l.options.Messages,
	}
	for _, wanted := range []struct {
		key
		secret, webhook *string
	}{
		{caller, &s.Secret, &s.WebhookSecret},
		{ops, &s.OpsSecret, new(string)},
		{other, &s.OtherSecret, new(string)},
		{disabled, &s.DisabledSecret, new(string)},
		{expired, &s.ExpiredSecret, new(string)},
	} {
		var err error
		if *wanted.secret, *wanted.webhook, err = l.ensureKey(ctx, wanted.key); err != nil {
			return Summary{}, err
		}
	}
	return s, nil
}

// marker is the document that says how far the data of a seed is.
type marker struct {
	complete                bool
	version                 int
	users, messages         int
	mainUsers, mainMessages int
	day                     time.Time
}

func (l *loader) markerPath() string {
	return "DemoData/" + strconv.FormatUint(l.options.Seed, 10)
}

// readMarker returns the zero marker where there is none.
func (l *loader) readMarker(ctx context.Context) (marker, error) {
	found, err := l.target.Client.GetDocument(ctx, &firestorepb.GetDocumentRequest{Name: l.name(l.markerPath())})
	if status.Code(err) == codes.NotFound {
		return marker{}, nil
	}
	if err != nil {
		return marker{}, fmt.Errorf("read demo data marker: %w", err)
	}
	number := func(name string) int { return int(found.Fields[name].GetIntegerValue()) }
	return marker{
		complete: found.Fields["state"].GetStringValue() == "complete",
		version:  number("version"),
		users:    number("users"), messages: number("messages"),
		mainUsers: number("mainUsers"), mainMessages: number("mainMessages"),
		day: found.Fields["day"].GetTimestampValue().AsTime(),
	}, nil
}

func (l *loader) writeMarker(ctx context.Context, m marker) error {
	state := "loading"
	if m.complete {
		state = "complete"
	}
	err := l.commit(ctx, []*firestorepb.Write{{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{
		Name: l.name(l.markerPath()),
		Fields: fields{
			"state": text(state), "version": integer(version), "day": instant(l.options.Now),
			"users": integer(int64(m.users)), "messages": integer(int64(m.messages)),
			"mainUsers": integer(int64(m.mainUsers)), "mainMessages": integer(int64(m.mainMessages)),
		},
	}}}})
	if err != nil {
		return fmt.Errorf("write demo data marker: %w", err)
	}
	return nil
}
