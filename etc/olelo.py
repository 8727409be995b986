# Routing of the shipped configuration. Reload it without a gap: olctl app_python.reload

import KSR as KSR

# Flags of transactions and branches
FLT_ACC = 1          # account for the transaction
FLT_ACCFAILED = 3    # account for it even if it fails
FLT_NATS = 5         # the sender is behind NAT
FLB_NATB = 6         # the branch's receiver is behind NAT
FLB_NATSIPPING = 7   # keep its NAT binding open

WITH_AUTH = KSR.kx.ifdef("WITH_AUTH")
WITH_NAT = KSR.kx.ifdef("WITH_NAT")
WITH_ANTIFLOOD = KSR.kx.ifdef("WITH_ANTIFLOOD")

# Users and passwords, where WITH_AUTH is set. Anyone with another store replaces this function.
PASSWORDS = {"alice": "wonderland", "bob": "builder"}


def password_of(user):
    return PASSWORDS.get(user)


# the object whose methods are the routes
def mod_init():
    return Routes()


class Routes:
    # each process, once it has loaded this; worker threads of the script's own would start here
    def child_init(self, rank):
        return 0

    # what every request goes through first
    def request_init(self):
        if WITH_ANTIFLOOD and not KSR.is_myself_srcip():
            source = KSR.kx.get_srcip()
            if KSR.htable.sht_match_name("ipban", "eq", source) > 0:
                KSR.dbg("request from banned address " + source + "\n")
                KSR.x.exit()
            if KSR.pike.pike_check_req() < 0:
                KSR.err("too many requests from " + source + ", banned\n")
                KSR.htable.sht_seti("ipban", source, 1)
                KSR.x.exit()
        agent = KSR.kx.gete_ua()
        if "friendly-scanner" in agent or "sipvicious" in agent:
            KSR.x.exit()
        if KSR.maxfwd.process_maxfwd(10) < 0:
            KSR.sl.sl_send_reply(483, "Too Many Hops")
            KSR.x.exit()
        if KSR.is_OPTIONS() and KSR.is_myself_ruri() and KSR.corex.has_ruri_user() < 0:
            KSR.sl.sl_send_reply(200, "Keepalive")
            KSR.x.exit()
        if KSR.sanity.sanity_check(17895, 7) < 0:
            KSR.x.exit()

    def detect_nat(self):
        if not WITH_NAT:
            return
        KSR.force_rport()
        if KSR.nathelper.nat_uac_test(19) > 0:
            if KSR.is_REGISTER():
                KSR.nathelper.fix_nated_register()
            elif KSR.siputils.is_first_hop() > 0:
                KSR.nathelper.set_contact_alias()
            KSR.setflag(FLT_NATS)

    def relay(self):
        if KSR.is_method_in("IBSU") and KSR.tm.t_is_set("branch_route") < 0:
            KSR.tm.t_on_branch("ksr_branch_manage")
        if KSR.is_method_in("ISU") and KSR.tm.t_is_set("onreply_route") < 0:
            KSR.tm.t_on_reply("ksr_onreply_manage")
        if KSR.is_INVITE() and KSR.tm.t_is_set("failure_route") < 0:
            KSR.tm.t_on_failure("ksr_failure_manage")
        if KSR.tm.t_relay() < 0:
            KSR.sl.sl_reply_error()
        KSR.x.exit()

    # requests inside a dialog follow the route set that its first request made
    def within_dialog(self):
        if KSR.siputils.has_totag() < 0:
            return
        if KSR.rr.loose_route() > 0:
            if not KSR.isdsturiset():
                KSR.nathelper.handle_ruri_alias()
            if KSR.is_BYE():
                KSR.setflag(FLT_ACC)
                KSR.setflag(FLT_ACCFAILED)
            elif KSR.is_NOTIFY():
                KSR.rr.record_route()
            self.relay()
        if KSR.is_ACK():
            if KSR.tm.t_check_trans() > 0:
                self.relay()
            KSR.x.exit()
        KSR.sl.sl_send_reply(404, "Not here")
        KSR.x.exit()

    def authenticate(self):
        if not WITH_AUTH:
            return
        if not (KSR.is_REGISTER() or KSR.is_myself_furi()):
            return
        realm = KSR.kx.gete_fhost()
        password = password_of(KSR.pv.gete("$fU")) or ""
        if password == "" or KSR.auth.pv_auth_check(realm, password, 0, 0) < 0:
            KSR.auth.auth_challenge(realm, 1)
            KSR.x.exit()
        if not KSR.is_method_in("RP"):
            KSR.auth.consume_credentials()

    def register(self):
        if not KSR.is_REGISTER():
            return
        if KSR.isflagset(FLT_NATS):
            KSR.setbflag(FLB_NATB)
            KSR.setbflag(FLB_NATSIPPING)
        # save() answers by itself, refusals included
        KSR.registrar.save("location", 0)
        KSR.x.exit()

    def to_location(self):
        found = KSR.registrar.lookup("location")
        if found < 0:
            KSR.tm.t_newtran()
            if found == -2:
                KSR.sl.send_reply(405, "Method Not Allowed")
            else:
                KSR.sl.send_reply(404, "Not Found")
            KSR.x.exit()
        if KSR.is_INVITE():
            KSR.setflag(FLT_ACC)
        self.relay()

    def ksr_request_route(self, msg):
        self.request_init()
        self.detect_nat()
        if KSR.is_CANCEL():
            if KSR.tm.t_check_trans() > 0:
                self.relay()
            return 1
        self.within_dialog()
        # retransmissions are answered by their transaction
        if KSR.tmx.t_precheck_trans() > 0:
            KSR.tm.t_check_trans()
            return 1
        if KSR.tm.t_check_trans() == 0:
            return 1
        self.authenticate()
        KSR.hdr.remove("Route")
        if KSR.is_method_in("IS"):
            KSR.rr.record_route()
        # calls to other domains
        if not KSR.is_myself_ruri():
            KSR.hdr.append("P-Hint: outbound\r\n")
            self.relay()
        self.register()
        if KSR.corex.has_ruri_user() < 0:
            KSR.sl.sl_send_reply(484, "Address Incomplete")
            return 1
        self.to_location()
        return 1

    # each branch on its way out
    def ksr_branch_manage(self, msg):
        if WITH_NAT and KSR.isbflagset(FLB_NATB) and KSR.siputils.has_totag() < 0:
            KSR.rr.add_rr_param(";nat=yes")
        return 1

    # each reply that belongs to a transaction
    def ksr_onreply_manage(self, msg):
        if WITH_NAT and KSR.is_INVITE() and KSR.nathelper.nat_uac_test(1) > 0:
            KSR.nathelper.set_contact_alias()
        return 1

    # all branches failed
    def ksr_failure_manage(self, msg):
        if KSR.tm.t_is_canceled() > 0:
            return 1
        return 1

    # replies that belong to no transaction as well
    def ksr_reply_route(self, msg):
        if KSR.sanity.sanity_check(17604, 6) < 0:
            KSR.x.drop()
        return 1
