package jobstore

import "cloud.google.com/go/firestore"

//lint:file-ignore SA1019 The client deprecates WriteBatch in favour of transactions, which need two more round trips, and of BulkWriter, which is not atomic. It has no other way to commit several writes atomically on condition of their update times.

// writes are documents to be written in one commit, all or none.
type writes = firestore.WriteBatch

func (s *Store) newWrites() *writes { return s.client.Batch() }
