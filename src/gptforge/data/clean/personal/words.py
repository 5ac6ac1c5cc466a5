"""The words before a number that say what it is; knows nothing of the number itself."""

import re

# What may stand between a word and its number: signs, and words that add nothing
_LINK = (
    r"(?:[\s:=.,;#\"'`()\[\]{}*|/_&+\-：，。；、（）【】“”]|numbers?|nums?|no|nr|id|code|card|is|are|was|at|on|to|or|"
    r"and|me|us|him|her|them|my|his|our|your|the|mobile|home|work|office|cell|direct|main|line|phone|tel|fax|toll|free|"
    r"是|为|号码?|码|请|打|我|的|个人|工作|办公|家庭){0,12}"
)
# After these, digits are somebody's number of something else
_OTHER = (
    r"orders?|invoice|tracking|serial|sku|parts?|model|isbn(?:-1[03])?|issn|imei|ticket|transaction|txn|trx|product|"
    r"item|batch|lot|catalog(?:ue)?|patent|version|build|timestamp|barcode|ean|upc|gtin|uuid|hash|sha|md5|bug|issue|"
    r"docket|p/n|s/n|case(?= ?(?:no|num|id|#|:))|article|shipment|parcel|receipt|confirmation|booking|policy|seed|rng|"
    r"default_rng|random_state|bytes|size|memory|"
    r"订单|单号|编号|运单|快递|流水|序列|发票|型号|条码|条形码|合同|物流|交易|商品|版本|货号|批号|QQ群?|ISBN|专利"
)
_OTHER_FOR_PHONES = (
    _OTHER
    + r"|id|uid|account|acct|zip|case|ref|reference|fraction|commit|merge|账号|帐号|账户|卡号|邮编|工号|学号|群号"
)


def _pattern(words: str, link: str = _LINK) -> re.Pattern[str]:
    return re.compile(
        rf"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:{words})(?:_?[1-9])?(?i:{link})(?:(?<!/)|(?<=wa\.me/))\Z"
    )


_SAYS_OTHER = r"(?:[^0-9A-Za-z<>]|number|num|no|id|code|nr|号|码){0,12}"
OTHER = _pattern(_OTHER, _SAYS_OTHER)
OTHER_FOR_PHONES = _pattern(_OTHER_FOR_PHONES, _SAYS_OTHER)

PHONE = _pattern(
    r"tel|tél|telephone|phone|telefone?|telefonn?o|teléfono|téléphone|(?<!-)ph(?=[ .:])|mobile|mob|cell|cellphone|"
    r"cellular|handy|móvil|celular|mobil|fax|hotline|whatsapp|wa\.me|tlf|rufnummer|portable|"
    r"(?:my|his|her|our|your|their|contact|emergency) (?:\w{2,9} )?number|"
    r"电话|手机|座机|固话|联系方式|传真|热线|移动电话|手机号|联系号码|來電|電話|手機|傳真"
)
CALL = _pattern(
    r"call|calling|text (?:me|us|him|her|them)|sms|dial|reach|contact|ring|wechat|weixin|vx|"
    r"llam[ae](?:r|me)? al|appelez(?:-moi)?|joindre|anrufen|联系人?|致电|拨打?|打给?|来电|咨询|客服|微信|聯絡|聯繫"
)
CARD = _pattern(r"card|visa|mastercard|amex|credit|debit|pan|银行卡|信用卡|卡号|储蓄卡|账号|帐号")
CN_ID = _pattern(r"身份证|身份證|证件|證件|公民身份|居民|resident id|identity|id")
SSN = _pattern(r"ssn|social security|social|soc sec")
CPF = _pattern(r"cpf(?:/mf)?")
AADHAAR = _pattern(r"aadhaar|aadhar|adhaar|uidai|uid|आधार")
NINO = _pattern(r"nino|national insurance|ni|n\.i\.|insurance")
BSN = _pattern(r"bsn|burgerservicenummer|sofi-?nummer|sofi")
DNI = _pattern(r"dni|nie|nif|documento")
IP = _pattern(
    r"ip|ipv4|ipv6|ip[- ]addr(?:ess)?|addr(?:ess)?|host|hostname|server|ping|dns|gateway|nameserver|client|from|src|"
    r"dst|peer|remote|router|地址|服务器|主机|网关|来自|登录"
)
VERSION = _pattern(
    r"version|versions|ver|v|release|released|rev|revision|build|firmware|driver|section|sections|sec|chapter|figure|fig|"
    r"table|clause|paragraph|appendix|upgrade|upgraded|update|oid|版本号?|固件|章节|第|升级到?|更新到?",
    r"(?:[\s:=.,#\"'()\-：（）]|number|no|id|is|to|from|=|是|为|号){0,10}",
)
_WORD_END = re.compile(r"(?:[^\W\d]|[A-Za-z\u4e00-\u9fff][-_]?[1-9]0?)[^0-9A-Za-z\u4e00-\u9fff]{0,12}\Z")
# The rest of a DOI or UUID, a term of a sum, an argument of a call
IN_IDENTIFIER = re.compile(
    r"10\.\d{4,9}/\S*\Z|(?<![0-9A-Za-z])[0-9a-f]{4}-\Z|arxiv\S*\Z|\w\s?[+*^]\s?\Z|(?:[0-9A-Za-z][._][A-Za-z_]\w*|[a-z][A-Z]\w*)\(\Z"
)
EMAIL = _pattern(r"e-?mail|mail|contact|reach|write|邮箱|邮件")


def nearest(before: str, wanted: re.Pattern[str], other: re.Pattern[str] = OTHER) -> int:
    """What the words just before a number say: 1 what is wanted, -1 something else, 0 nothing."""
    if not _WORD_END.search(before):  # in a row of numbers, and most often
        return 0
    yes, no = wanted.search(before), other.search(before)
    if yes is None or no is None:
        return (yes is not None) - (no is not None)
    return 1 if yes.start() >= no.start() else -1
