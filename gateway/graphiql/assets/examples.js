// This module is where the tabs are that a newcomer finds.

const FLEET = `# Welcome to Signalbox.
#
# Sign in, then press play or Ctrl-Enter.
# Ctrl-Space completes; the book icon on
# the left shows the whole schema.

query Fleet($status: [WorkspaceStatus!]) {
  viewer {
    roles
    user { displayName }
    tenant { name }
  }
  workspaces(
    first: 20
    filter: { status: $status }
    orderBy: { field: NAME, direction: ASC }
  ) {
    totalCount
    nodes {
      id
      name
      role
      status
      lastHeartbeatAt
      lastErrorRate
      currentTask
      agents { name status }
    }
  }
}
`;

const HEARTBEATS = `# Live: the latest beat of every workspace,
# at most one a second each. While the stream
# is open, play is stop.

subscription Heartbeats {
  heartbeats(minIntervalMilliseconds: 1000) {
    workspaceId
    status
    receivedAt
    errorRate
    activeTasks
    currentTask
  }
}
`;

const STATUS = `# Live: every change of a workspace, in order.
# Resume after any item with its cursor.

subscription StatusChanges($after: EventCursor) {
  workspaceStatus(after: $after) {
    __typename
    ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on WorkspaceItem {
      occurredAt
      kind
      workspace { id name status }
    }
  }
}
`;

export const TABS = [
  { query: FLEET },
  { query: HEARTBEATS },
  { query: STATUS },
];
