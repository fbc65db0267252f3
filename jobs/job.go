package jobs

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// Job is one export: the request, where it stands, who holds it and what came of it. Only the transitions in
// this package change it; times are UTC to the microsecond.
type Job struct {
	ID string `firestore:"-"`
	// Schema is the version that the document is stored as, see OldestSchema.
	Schema int `firestore:"schema"`
	// Damage says what of the document could not be read; "" when it is whole.
	Damage string `firestore:"-"`
	// Rev is random in each write: the store knows by it a commit whose answer was lost.
	Rev string `firestore:"rev"`

	OrgID  string `firestore:"orgId"`
	KeyID  string `firestore:"keyId"` // the API key that asked
	Kind   Kind   `firestore:"kind"`
	Params Params `firestore:"params"`
	// Columns is the version of the dataset's columns that the file has, see ColumnsVersion.
	Columns     int    `firestore:"columns,omitempty"`
	Fingerprint string `firestore:"fingerprint"`
	RequestID   string `firestore:"requestId,omitempty"`
	// Trace is the trace of the run, as Traceparent; "" for none.
	Trace string `firestore:"trace,omitempty"`

	State State `firestore:"state"`
	Phase Phase `firestore:"phase"`
	// WakeAt is when somebody must look at the job next; the rescuer asks for it. Set in every state until
	// the record is deleted. It is indexed with Shard, and a renewal leaves it.
	WakeAt     time.Time `firestore:"wakeAt"`
	Shard      int       `firestore:"shard"` // as ShardOf, or EndedShard
	CreatedAt  time.Time `firestore:"createdAt"`
	StartedAt  time.Time `firestore:"startedAt,omitempty"`
	FinishedAt time.Time `firestore:"finishedAt,omitempty"`

	// Epoch is raised by each claim, rerun and delete, and when the file expires: what was read under another
	// epoch is void. With the lease's token it fences every write.
	Epoch int64 `firestore:"epoch"`
	Lease Lease `firestore:"lease"`
	// Place is the number of the org's place that the running job has, 0 for none.
	Place int `firestore:"place,omitempty"`
	// Attempt counts attempts over all reruns; AttemptBase is its value when the present run began, so
	// Attempt-AttemptBase attempts are spent.
	Attempt     int `firestore:"attempt"`
	AttemptBase int `firestore:"attemptBase"`
	// Interruptions counts lost leases and shutdowns since the last progress.
	Interruptions int `firestore:"interruptions"`
	// SameAttempt: the next claim goes on with the attempt that was interrupted.
	SameAttempt bool      `firestore:"resuming"`
	NotBefore   time.Time `firestore:"notBefore,omitempty"`

	// SnapshotTime is the instant that all reads of the job see.
	SnapshotTime     time.Time `firestore:"snapshotTime,omitempty"`
	SnapshotRestarts int       `firestore:"snapshotRestarts"`
	// PlanEpoch is the epoch whose plan is in force: parts of other plans are void.
	PlanEpoch  int64 `firestore:"planEpoch"`
	PartsTotal int   `firestore:"partsTotal"`
	PartsDone  int   `firestore:"partsDone"`
	NextPart   int   `firestore:"nextPart"` // first part whose message has not been published
	// SheetRows, where it is not 0, says that the plan in force makes a zip of sheets for Excel, of so many
	// rows each at most, as one has no room for all.
	SheetRows int64 `firestore:"sheetRows,omitempty"`
	RowsTotal int64 `firestore:"rowsTotal"`
	Counted   bool  `firestore:"counted"` // RowsTotal is known
	// RowsDone and BytesDone are what the present snapshot's work has come to. While parts are under way they
	// hold what finished parts add up to; parts know the rest.
	RowsDone  int64 `firestore:"rowsDone"`
	BytesDone int64 `firestore:"bytesDone"`
	// RowsFloor is the progress shown before a restart: what is shown never goes back.
	RowsFloor int64 `firestore:"rowsFloor"`

	Result Result    `firestore:"result"`
	Error  *JobError `firestore:"error"`
	// Cleanup: objects besides the result may be left and must be deleted at WakeAt.
	Cleanup bool `firestore:"cleanup"`
	// SweptEpoch, where it is Epoch, says that nothing of the job can be in storage but its result: see
	// Swept. A build that does not know of it raises Epoch and so unsays it.
	SweptEpoch    int64     `firestore:"sweptEpoch,omitempty"`
	FileExpiresAt time.Time `firestore:"fileExpiresAt,omitempty"`
	DeletedAt     time.Time `firestore:"deletedAt,omitempty"`
	// BatchID is the last batch that reran the job.
	BatchID string `firestore:"batchId,omitempty"`
	// Base is the file that the job's is to tell the changes to; nil for a file of all rows.
	Base *Whole `firestore:"base,omitempty"`
	// Budget is what the job has reserved of its key's day; nil for a key without a budget.
	Budget *Reservation `firestore:"budget,omitempty"`
	// RerunOf is the job whose request this one's is, with other parameters, see RerunWith.
	RerunOf string `firestore:"rerunOf,omitempty"`

	CallbackURL string `firestore:"callbackUrl,omitempty"`

	// LinksRevoked is how often all links to the file were revoked: those of another generation lead nowhere,
	// nor do RevokedLinks, by id. A build that does not know of them answers no links.
	LinksRevoked int64    `firestore:"linksRevoked,omitempty"`
	RevokedLinks []string `firestore:"revokedLinks,omitempty"`

	// Spent is where the time of the run went, and SpentNow that of the attempt under way as its last renewal
	// told it, see SpentWith. ReadyAt is when the job was queued again; zero in its first attempt. Nothing
	// goes by the three, and what makes no sense in them is no damage; the model leaves them out.
	Spent    Spent     `firestore:"spent,omitempty" json:"-"`
	SpentNow Spent     `firestore:"under,omitempty" json:"-"`
	ReadyAt  time.Time `firestore:"readyAt,omitempty" json:"-"`

	// Lapses: whatever hangs on the job has a time of its own at which the database deletes it, as
	// Policy.LapsesAt gives, so that a purge has nothing to do but for the job's own document.
	Lapses bool `firestore:"lapses,omitempty"`
}

// Swept reports whether an ended job has left nothing in storage but, at most, its result, by what is known
// of its claims: nobody has to list the bucket to find that out.
func (j *Job) Swept() bool { return j.SweptEpoch == j.Epoch }

// nextEpoch begins another epoch of an ended job, of which nothing is written.
func (j *Job) nextEpoch() {
	if j.Swept() {
		j.SweptEpoch++
	}
	j.Epoch++
}

// Result is the file of a succeeded job.
type Result struct {
	Object       string `firestore:"object,omitempty"`
	Generation   int64  `firestore:"generation,omitempty"`
	Rows         int64  `firestore:"rows"`
	Size         int64  `firestore:"size"`
	CRC32C       uint32 `firestore:"crc32c"` // Castagnoli, as Cloud Storage reports it
	GuardedCells int64  `firestore:"guardedCells"`
	// GuardedBy is GuardedCells by columns, as that of Part.
	GuardedBy *GuardedBy `firestore:"guardedBy,omitempty"`
	// Digest is what is known of the object; nil where a build made it that does not know it.
	Digest *Digest `firestore:"digest,omitempty"`
	// RescuedValues are those that the format has not in their column's type.
	RescuedValues int64 `firestore:"rescuedValues,omitempty"`
	// Whole and Changes are of a job with a Base: the file that has all rows, which nobody is given, and what
	// the object tells of it. Rows are those of Whole.
	Whole   *Whole   `firestore:"whole,omitempty"`
	Changes *Changes `firestore:"changes,omitempty"`
}

// JobError is why a job failed: for its owner (Code, Message, Retryable) and for the operator (Remedy).
type JobError struct {
	Code      Code   `firestore:"code"`
	Message   string `firestore:"message"`
	Retryable bool   `firestore:"retryable"` // the same request may work later
	Remedy    string `firestore:"remedy,omitempty"`
	// What is what exactly it is about, as Cause.What; "" where that is not known.
	What string `firestore:"what,omitempty"`
	// Part is the index of the part that ended a failed job's run; nil where it was none, and in parts. A
	// build that does not know it loses it with its next write of the job, never keeps it for another error.
	Part *int `firestore:"part,omitempty"`
	// CauseID is the Cause.ID of what a failed job failed by; "" in parts, of deleted jobs and of files that
	// are lost.
	CauseID string `firestore:"cause,omitempty"`
}

// NewID makes a job id: 128 random bits in lower-case base32, so ids can neither be guessed nor counted.
func NewID() string { return strings.ToLower(rand.Text()) }

// ValidID reports whether id has the form that NewID gives. Ids from outside are checked before they become
// part of a document path.
func ValidID(id string) bool {
	if len(id) != 26 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// ObjectPrefix is where every object of the job lies.
func (j *Job) ObjectPrefix() string { return "exports/" + j.OrgID + "/" + j.ID + "/" }

// FileName is what a download of the job's file is saved as, wherever its link came from: what is in it and
// of when. It holds nothing that a caller chose but days.
func (j *Job) FileName() string { return j.fileName() + j.extension() }

// SheetName is that of a sheet in the zip that the file is, the first being 1.
func (j *Job) SheetName(n int) string {
	return fmt.Sprintf("%s-%03d%s", j.fileName(), n, j.Params.Extension())
}

func (j *Job) fileName() string {
	if to := j.Params.Time(ParamTo); !to.IsZero() {
		last := to.Add(-time.Microsecond)
		return string(j.Kind) + "_" + j.Params.Time(ParamFrom).Format(time.DateOnly) + "_" + last.Format(time.DateOnly)
	}
	return string(j.Kind) + "_" + j.SnapshotTime.UTC().Format(time.DateOnly)
}

// extension is that of the file's name, with its dot.
func (j *Job) extension() string {
	if j.SheetRows > 0 {
		return ".zip"
	}
	return j.Params.Extension()
}

// Percent is the progress to show: at most 99 before the job has succeeded, exactly 100 once it has, whatever
// the number of rows.
func Percent(state State, done, total int64) int {
	switch {
	case state == Succeeded || state == Expired:
		return 100
	case total <= 0:
		return 0
	}
	return int(min(99, done*100/total))
}
