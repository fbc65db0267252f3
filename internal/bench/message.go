package main

import (
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/jobs"
)

const (
	workspaceID = "ws-4f0c2a9be1"
	mediumID    = "ch-77d01c"
	orgID       = "bench"
	keyID       = "key_bench"
)

// epoch is before the first message. Message i is i+1 ms after it, so that a window of n ms holds the first
// n.
func epoch() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }

// window selects the first n messages.
func window(n int) jobs.Params {
	return jobs.Params{
		"workspaceId": workspaceID, "mediumId": mediumID,
		"from": epoch().Add(time.Millisecond), "to": epoch().Add(time.Duration(n+1) * time.Millisecond),
	}
}

// texts have the lengths, scripts and quotes of what people write. None has a line break or looks like a
// formula, so that the plain handler's file equals ours.
var texts = [...]string{
	"hi", "ok 👍", "Can I change the card that my deposits come from?",
	"thanks, that worked! One more thing: my bonus from yesterday is still pending, could you have a look?",
	"Добрый день, подскажите, пожалуйста, когда придёт вывод средств?",
	"she said \"please wait\" and then the chat closed",
	"I have been a customer here since 2019 and never had a problem with a withdrawal before this week",
}

// document is message i of a database.
func document(database string, i int) *firestorepb.Document {
	return &firestorepb.Document{
		// Ids in no relation to the order, as generated ones are.
		Name: fmt.Sprintf("%s/documents/VipMessages/%016x", database, uint64(i)*0x9E3779B97F4A7C15),
		Fields: map[string]*firestorepb.Value{
			"workspaceId": str(workspaceID), "mediumId": str(mediumID),
			"timestamp":   at(epoch().Add(time.Duration(i+1) * time.Millisecond)),
			"playerId":    str(fmt.Sprintf("player-%07d", i*7919%1_000_000)),
			"displayName": str("Jordan Example"), "kind": str("text"), "source": str("user"),
			"text":   str(texts[i%len(texts)]),
			"labels": list([]string{"complaint", "ai_x81hd02h"}[:i%3]...),
		},
	}
}

// userDocument is user i of a database.
func userDocument(database string, i int) *firestorepb.Document {
	player := fmt.Sprintf("player-%07d", i)
	fields := map[string]*firestorepb.Value{
		"workspaceId": str(workspaceID), "mediumId": str(mediumID), "playerId": str(player), "displayName": str("Jordan Example"),
		"avatarUrl": str("https://avatars.example.com/" + player + ".png"), "language": str("en"), "country": str("CZ"),
		"ltv": {ValueType: &firestorepb.Value_DoubleValue{DoubleValue: float64(i*7919%1_000_000) / 100}}, "currency": str("EUR"), "tier": str("gold"),
		"tags": list("whale", "weekly"), "firstSeenAt": at(epoch()), "lastSeenAt": at(epoch().Add(time.Duration(i) * time.Second)),
		"hasBirthday": {ValueType: &firestorepb.Value_BooleanValue{BooleanValue: i%5 < 3}},
		"personalInfo": {ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*firestorepb.Value{
			"fullName": str("Jordan Q. Example"), "email": str(player + "@example.com"), "phone": str("+1-202-555-0100"), "city": str("Brno"),
		}}}},
	}
	if i%5 < 3 {
		fields["birthdayMonth"] = &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: int64(1 + i%12)}}
	}
	return &firestorepb.Document{Name: fmt.Sprintf("%s/documents/VipUsers/%016x", database, uint64(i)*0x9E3779B97F4A7C15), Fields: fields}
}

func list(texts ...string) *firestorepb.Value {
	values := make([]*firestorepb.Value, len(texts))
	for i, s := range texts {
		values[i] = str(s)
	}
	return &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: values}}}
}

func at(t time.Time) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(t)}}
}

func str(s string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}

// message is a document as a plain handler decodes it.
type message struct {
	ID          string    `firestore:"-"`
	Timestamp   time.Time `firestore:"timestamp"`
	PlayerID    string    `firestore:"playerId"`
	DisplayName string    `firestore:"displayName"`
	Kind        string    `firestore:"kind"`
	Source      string    `firestore:"source"`
	Text        string    `firestore:"text"`
	Labels      []string  `firestore:"labels"`
}

// cells is the row of m the way a plain handler makes it.
func (m *message) cells() []string {
	return []string{
		m.ID, m.Timestamp.UTC().Format("2006-01-02T15:04:05.000000Z"), m.PlayerID, m.DisplayName, m.Kind, m.Source, m.Text, strings.Join(m.Labels, ";"),
	}
}
