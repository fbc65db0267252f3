package firestoreserver

// Served says of each field whether it is honoured, for tests that go through a connection.
var Served = served
