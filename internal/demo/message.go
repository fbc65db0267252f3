package demo

import (
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// HazardLabel is on every message whose text is a string of csv-hazards.json or blns.json, and on nothing
// else.
const HazardLabel = "ai_hazard_strings"

// EdgeLabel is on the hand-made messages, where the row leaves labels as they should be.
const EdgeLabel = "ai_edge_rows"

// burst is how many messages share one instant on average, of those that do.
const burst = 12

func builtInLabels() []string {
	return []string{
		"question", "complaint", "praise", "refund", "billing", "bug", "feedback",
		"vip-request", "greeting", "urgent", "churn-risk", "spam",
	}
}

func (d *Dataset) messageID(i int) string { return documentID(d.options.Seed, "message/id", i) }

func (d *Dataset) message(i int) Document {
	random := newDraw(d.options.Seed, "message", i)
	// The lesser of two draws: some players write much more than others.
	author := min(random.n(d.options.Users), random.n(d.options.Users))
	p, _ := d.player(author)
	kind, source := kindOf(&random), sourceOf(&random)
	return Document{"VipMessages/" + d.messageID(i), fields{
		"workspaceId": text(p.workspace),
		"mediumId":    text(p.medium),
		"timestamp":   instant(d.messageTime(&random)),
		"kind":        text(kind),
		"source":      text(source),
		"playerId":    text(p.id),
		"displayName": text(p.displayName),
		"text":        text(d.messageText(&random, p, kind, source)),
		"labels":      d.messageLabels(&random),
	}}
}

// messageTime puts two messages in a hundred on one instant of the last 31 days, more than a page of the list
// route; thirty on instants shared by about a dozen; and a few on whole seconds.
func (d *Dataset) messageTime(random *draw) time.Time {
	switch share := random.n(100); {
	case share < 2:
		return d.options.Now.Add(-9*24*time.Hour + 18*time.Hour + 123_456*time.Microsecond)
	case share < 32:
		instants := max(1, d.options.Messages*30/100/burst)
		shared := newDraw(d.options.Seed, "instant", random.n(instants))
		return d.within(&shared, history)
	case share < 40:
		return d.within(random, history).Truncate(time.Second)
	default:
		return d.within(random, history)
	}
}

func kindOf(random *draw) string {
	switch share := random.n(100); {
	case share < 80:
		return "text"
	case share < 88:
		return "postback"
	case share < 96:
		return "attachment"
	default:
		return "other"
	}
}

func sourceOf(random *draw) string {
	switch share := random.n(100); {
	case share < 68:
		return "user"
	case share < 86:
		return "agent"
	case share < 96:
		return "bot"
	default:
		return "system"
	}
}

func (d *Dataset) messageText(random *draw, p player, kind, source string) string {
	switch {
	case kind == "postback":
		return pick(random, []string{"GET_STARTED", "MENU:BONUS", "CLAIM_DAILY;step=2", "RATE:5", "{\"action\":\"spin\",\"bet\":100}"})
	case kind == "attachment":
		return "https://media.example.com/" + random.letters(12) + pick(random, []string{".jpg", ".png", ".mp4", ".pdf", ".ogg"})
	case kind == "other":
		return pick(random, []string{"", "👍", "sticker 369239263222822"})
	case source == "system":
		return fmt.Sprintf("Conversation assigned to agent %d", 1+random.n(40))
	case random.percent(3):
		return pick(random, d.corpus.multiline)
	case random.percent(60):
		return pick(random, p.locale.texts)
	default:
		return pick(random, d.corpus.all)
	}
}

// messageLabels gives most messages one label or none, the first ones of the list more often than the last,
// one in six a custom one.
func (d *Dataset) messageLabels(random *draw) *firestorepb.Value {
	count := 0
	switch share := random.n(100); {
	case share < 35:
	case share < 80:
		count = 1
	case share < 95:
		count = 2
	default:
		count = 3
	}
	builtIn := builtInLabels()
	var labels []string
	for range count {
		label := builtIn[min(random.n(len(builtIn)), random.n(len(builtIn)))]
		if random.percent(16) {
			label = pick(random, d.labels)
		}
		if !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	return texts(labels...)
}

// hazardMessage is a well-formed message of the main place, in the last 31 days, with a hazard as its text
// and, one time in four, as its author's name.
func (d *Dataset) hazardMessage(i int) Document {
	hazards := d.corpus.hazards
	// Even steps over the window; every tenth row shares the instant before.
	step := window / time.Duration(len(hazards)+1)
	slot := i
	if i%10 == 9 {
		slot--
	}
	kinds, sources := []string{"text", "text", "text", "postback", "attachment", "other"}, []string{"user", "user", "agent", "bot", "system"}
	name := "Hazard " + hazards[i].ID
	if i%4 == 0 {
		name = *hazards[(i+7)%len(hazards)].Text
	}
	random := newDraw(d.options.Seed, "hazard", i)
	return Document{"VipMessages/" + documentID(d.options.Seed, "hazard/id", i), fields{
		"workspaceId": text(d.directory.main.workspace),
		"mediumId":    text(d.directory.main.medium),
		"timestamp":   instant(d.options.windowStart().Add(step * time.Duration(slot+1))),
		"kind":        text(kinds[i%len(kinds)]),
		"source":      text(sources[i%len(sources)]),
		"playerId":    text(random.digits(16)),
		"displayName": text(name),
		"text":        text(*hazards[i].Text),
		"labels":      texts(HazardLabel),
	}}
}
