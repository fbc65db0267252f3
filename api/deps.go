package api

import (
	"context"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Records reads workspaces, channels and rows. internal/records has it.
type Records interface {
	vip.Directory
	// Workspaces and Channels list what an org has, by id; records.ErrTooLarge where that is more than most
	// bytes.
	Workspaces(ctx context.Context, orgID string, most int) ([]vip.Workspace, error)
	Channels(ctx context.Context, orgID, workspaceID string, most int) ([]vip.Channel, error)
	// Page returns up to limit rows, or most bytes, after a position (nil: from the first), behind offset
	// rows that are skipped.
	Page(ctx context.Context, q vip.Query, after *vip.Position, offset, limit, most int, row records.RowEncoder) (records.Page, error)
	// Count counts rows as of at (zero: now).
	Count(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (rows int64, as time.Time, err error)
	// LabelCounts counts messages by label; total is the number of messages.
	LabelCounts(ctx context.Context, q vip.Query) (counts []records.LabelCount, total int64, err error)
}

// Jobs stores jobs. internal/jobstore has it.
type Jobs interface {
	jobs.SubmitStore
	jobs.TxStore
	jobs.JobReader
	jobs.PresenceReader
}

// Operations is what only operators need. internal/jobstore has it.
type Operations interface {
	jobs.BatchAdmin
	jobs.ControlStore
	jobs.CallbackAdmin
	jobs.RollupStore
	jobs.CauseStore
	jobs.AuditStore
	jobs.LinkStore
}

// Queue notifies workers. internal/jobqueue has it.
type Queue = jobs.Publisher

// Objects holds the files. internal/objectstore has it.
type Objects interface {
	jobs.ObjectLinker
	jobs.ObjectProver
	jobs.ObjectPurger
}

// KeyAdmin makes and changes API keys. internal/apikey has it. What a returned Key holds of secrets can be
// shown once.
type KeyAdmin interface {
	Create(ctx context.Context, d apikey.Draft, by apikey.By) (*apikey.Key, error)
	// Rotate gives a key a new secret. apikey.ErrRotated, apikey.ErrDisabled.
	Rotate(ctx context.Context, id string, rotation apikey.Rotation, by apikey.By) (apikey.Secret, error)
	// SetBudget gives the budget as it then is. apikey.ErrDisabled.
	SetBudget(ctx context.Context, id string, to apikey.BudgetChange, by apikey.By) (jobs.Budget, error)
	SetState(ctx context.Context, id string, state apikey.State, by apikey.By) error
	// Get gives a key of an org, of any if it is empty, and who changed it when and why, oldest first.
	// jobs.ErrNotFound; for another org's key by the same work.
	Get(ctx context.Context, orgID, id string) (*apikey.Key, []apikey.AuditEntry, error)
	// List gives the keys of an org, of all if it is empty.
	List(ctx context.Context, orgID string) ([]*apikey.Key, error)
}
